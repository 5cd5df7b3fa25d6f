package wire

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// texts are texts that the scanner and encoding/json must judge alike, as far as
// neither names nor depth are at fault.
func texts() []string {
	return []string{
		``, ` `, `{}`, ` {} `, `{"a":1}`, `{"a":1,}`, `{,"a":1}`, `{"a" 1}`, `{"a":}`, `{"a":1 "b":2}`, `{"a":1}}`, `{"a":1`, `{"a"`, `{"a`, `{`,
		`{"a":[]}`, `{"a":[1,2]}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{"a":[1`, `{"a":[[],[{}]]}`, `{"a":]}`,
		`{"a":"x"}`, `{"a":"\n"}`, "{\"a\":\"\n\"}", `{"a":"\u00e9"}`, `{"a":"\u00g9"}`, `{"a":"\u00"}`, `{"a":"\x"}`, `{"a":"\"}`, `{"a":"\\"}`, `{"a":"\ud800"}`,
		`{"a":true,"b":false,"c":null}`, `{"a":tru}`, `{"a":nul}`, `{"a":truee}`, `{"a":True}`, `{"a":undefined}`,
		`{"a":0}`, `{"a":-0}`, `{"a":-1}`, `{"a":+1}`, `{"a":01}`, `{"a":1.5}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e5}`, `{"a":1E+5}`, `{"a":1e-5}`, `{"a":1e}`, `{"a":-}`, `{"a":0x1}`,
		`{'a':1}`, `{a:1}`, `{"a":1}//`, `{"a":1}x`, "\ufeff{}", `{"a":{"b":{"c":[{"d":"}"}]}}}`, `{"a":"{"}`, `{"a":"]"}`, "{\t\"a\"\r\n:\t1 }", `{"a":1}` + "\x00",
	}
}

func TestTheScannerTakesWhatIsJSONAndNothingElse(t *testing.T) {
	for _, text := range texts() {
		if got, want := checkJSON([]byte(text)) == nil, json.Valid([]byte(text)); got != want {
			t.Errorf("%q: taken %v, JSON %v", text, got, want)
		}
	}
	for name, text := range map[string]string{
		"a name twice": `{"a":1,"a":2}`, "a name twice, deeper": `{"b":[{"a":1,"a":2}]}`, "a name in capitals": `{"A":1}`,
		"a name with an escape": `{"\u0061":1}`, "an empty name": `{"":1}`, "no UTF-8": "{\"a\":\"\xff\"}",
		"too deep":     strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		"too deep too": strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1),
		"many members": manyMembers(maxMembers+1, "1"), "many members around": manyMembers(maxMembers, manyMembers(maxMembers, manyMembers(2, "1"))),
	} {
		if checkJSON([]byte(text)) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, text := range map[string]string{
		"as deep as may be": strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), "as many members as may be": manyMembers(maxMembers, "1"),
		"a name again in another object": `{"a":{"a":1},"b":[{"a":1},{"a":1}]}`,
	} {
		if err := checkJSON([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATextEndsWhereEncodingJSONSays(t *testing.T) {
	for n := range 20 {
		for at := range n + 1 {
			for _, c := range []string{"\x00", "\x1f", " ", "!", `"`, "#", "[", `\`, "]", "\x7f", "é", "\u2028", "\U0010ffff", `\"`, `\\`, `\u0000`} {
				for _, around := range []string{"a", "\x7f", "é"} {
					text := `["` + strings.Repeat(around, at) + c + strings.Repeat(around, n-at) + `",1]`
					if got, want := checkJSON([]byte(text)) == nil, json.Valid([]byte(text)); got != want {
						t.Fatalf("%q: taken %v, JSON %v", text, got, want)
					}
				}
			}
		}
	}
}

// manyMembers is an object of n members, of which the last has the value given.
func manyMembers(n int, last string) string {
	var b strings.Builder
	for i := range n - 1 {
		b.WriteString(`"m` + strings.Repeat("x", i) + `":1,`)
	}
	return "{" + b.String() + `"last":` + last + "}"
}

// Each message that reads itself, and the same without that method.
type plainClaims Claims
type plainAnswerClaims AnswerClaims
type plainAnswer Answer

func TestMessagesReadThemselvesAsEncodingJSONWould(t *testing.T) {
	values := []string{`"x"`, `"A\u0041"`, `"AAAA"`, `"not base64url!"`, `""`, `null`, `1`, `-7`, `1.5`, `1e3`, `99999999999999999999`, `true`, `{}`, `{"a":[1]}`, `[]`, `"a\ud800"`}
	for _, pair := range []struct{ own, plain func() any }{
		{func() any { return new(Claims) }, func() any { return new(plainClaims) }},
		{func() any { return new(AnswerClaims) }, func() any { return new(plainAnswerClaims) }},
		{func() any { return new(Answer) }, func() any { return new(plainAnswer) }},
	} {
		of := reflect.TypeOf(pair.own()).Elem()
		names := []string{"unknown"}
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			names = append(names, name)
		}
		for _, name := range names {
			for _, v := range values {
				text := []byte(` {"` + name + `" : ` + v + `, "more":[1,{"a":2}]} `)
				own, plain := pair.own(), pair.plain()
				err, want := Unmarshal(text, own), json.Unmarshal(text, plain)
				if (err == nil) != (want == nil) {
					t.Errorf("%s: %s: %v, encoding/json %v", of, text, err, want)
				}
				if err == nil && !reflect.DeepEqual(reflect.ValueOf(own).Elem().Convert(reflect.TypeOf(plain).Elem()).Interface(), reflect.ValueOf(plain).Elem().Interface()) {
					t.Errorf("%s: %s: %+v, encoding/json %+v", of, text, own, plain)
				}
			}
		}
	}
}

func TestARepliesTextIsWhatEncodingJSONWrites(t *testing.T) {
	left := 2
	for _, r := range []Reply{
		{Iss: "https://id.example", Aud: "dev_1", Iat: 1, Exp: 2, Rto: "jti", RH: "rh", Head: "head", Result: Result{St: StatusOK, Body: json.RawMessage(`{"a":1}`)}},
		{Result: Result{Body: json.RawMessage{}}},
		{Iss: "a\"b\\c<>&\u2028é\x01\x7f", Aud: "\xff", Result: Result{St: StatusErr, Err: &Error{Code: AuthFailed, Left: &left}}},
	} {
		got, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s, encoding/json %s", got, want)
		}
		got, err = r.Result.JSON()
		if want, _ := json.Marshal(r.Result); string(got) != string(want) || err != nil {
			t.Errorf("%s, %v, encoding/json %s", got, err, want)
		}
	}
}
