package node

import (
	"reflect"
	"testing"

	"mobileid/internal/db"
)

// A setting that one direction forgets would be lost by the next update of a client.
func TestOptionsOfAClientAreThereAndBackTheSame(t *testing.T) {
	var o ClientOptions
	v := reflect.ValueOf(&o).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			f.SetString("x")
		case bool:
			f.SetBool(true)
		case []string:
			f.Set(reflect.ValueOf([]string{"x", "y"}))
		default: // bytes
			f.SetBytes([]byte("{}"))
		}
	}
	set := o.settings(db.ClientSettings{MinACR: "a", BindingMessageMax: 7})
	if back := optionsOf(o.Name, &set); !reflect.DeepEqual(back, o) {
		t.Errorf("%+v became %+v", o, back)
	}
	if set.MinACR != "a" || set.BindingMessageMax != 7 {
		t.Error("what is no option was lost")
	}
}
