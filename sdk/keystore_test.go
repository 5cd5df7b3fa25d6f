package sdk_test

import (
	"path/filepath"
	"testing"

	"mobileid/sdk"
	"mobileid/sdk/keystoretest"
)

func TestAFileIsAKeystore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "phone.json")
	keystoretest.Keystore(t, func() sdk.Keystore { return &sdk.File{Path: path} })
}

func TestTheBiometryOfTestsIsOne(t *testing.T) {
	soft := &keystoretest.Soft{}
	keystoretest.Biometry(t, func() sdk.Biometry { return soft }, soft)
}
