package rig

import (
	"bytes"
	"testing"

	"mobileid/sdk/wire"
)

func TestTheRigsPhonesStretchAsAllPhonesDo(t *testing.T) {
	salt := []byte("0123456789abcdef")
	want, err := wire.Stretch(PIN, salt)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := StretchOnce()(PIN, salt); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x, %v, want %x", got, err, want)
		}
	}
}
