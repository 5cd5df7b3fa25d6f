package view

import (
	"errors"
	"strings"
	"testing"

	"mobileid/internal/fault"
)

func TestDetailsAreMadeCanonicalOnce(t *testing.T) {
	for raw, want := range map[string]string{
		` [ { "type" : "payment_initiation" , "creditorName" : "B\u00e4ckerei <A> & \"B\"" } ] `: `[{"creditorName":"Bäckerei <A> & \"B\"","type":"payment_initiation"}]`,
		`[{"type":"payment_initiation","instructedAmount":{"amount":"12.50","currency":"EUR"}}]`: `[{"instructedAmount":{"amount":"12.50","currency":"EUR"},"type":"payment_initiation"}]`,
		`[{"contentType":"text/plain","type":"mobileid_signature","content":"a\n\u0062\/"}]`:     `[{"content":"a\nb/","contentType":"text/plain","type":"mobileid_signature"}]`,
	} {
		d, err := ParseDetails("authorization_details", []byte(raw), Types())
		if err != nil || string(d.Canonical) != want {
			t.Errorf("%s: %+v, %v", raw, d, err)
			continue
		}
		again, err := ParseDetails("authorization_details", d.Canonical, Types())
		if err != nil || string(again.Canonical) != want {
			t.Errorf("%s became %+v, %v", want, again, err)
		}
	}
}

// The example of RFC 8785 section 3.2.3, without the numbers that I-JSON of ours
// does not have.
func TestCanonicalFormSortsByUTF16AndEscapesLittle(t *testing.T) {
	v, err := readJSON([]byte(`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face",
		"\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis","n":[-9007199254740991,0,true,null],"s":"\u000f\b\f\"\\\/\u007f"}`))
	want := "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"n\":[-9007199254740991,0,true,null],\"s\":\"\\u000f\\b\\f\\\"\\\\/\u007f\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
		"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"
	if got := string(canonical(v)); err != nil || got != want {
		t.Errorf("%s\nwant %s, %v", got, want, err)
	}
}

func TestFaultsInDetailsNameTheMember(t *testing.T) {
	pay := func(members string) string { return `[{"type":"payment_initiation",` + members + `}]` }
	amount := func(members string) string { return pay(`"creditorName":"A","instructedAmount":{` + members + `}`) }
	for _, tc := range []struct{ name, raw, pointer string }{
		{"no JSON", `[`, "/d"},
		{"more behind it", `[{"type":"payment_initiation","creditorName":"A"}] []`, "/d"},
		{"an object", `{"type":"payment_initiation"}`, "/d"},
		{"no element", `[]`, "/d"},
		{"an element that is text", `["x"]`, "/d/0"},
		{"a member twice", `[{"type":"payment_initiation","creditorName":"A","creditorName":"B"}]`, "/d"},
		{"a member twice, by escape", `[{"type":"payment_initiation","creditorName":"A","creditor\u004eame":"B"}]`, "/d"},
		{"half a surrogate pair", pay(`"creditorName":"\ud800"`), "/d"},
		{"an amount as number", amount(`"currency":"EUR","amount":12.5`), "/d"},
		{"too large a number", pay(`"x":9007199254740992`), "/d"},
		{"a number with exponent", pay(`"x":1e3`), "/d"},
		{"no type", `[{"creditorName":"A"}]`, "/d/0/type"},
		{"type as number", `[{"type":1}]`, "/d/0/type"},
		{"unknown type", `[{"type":"account_information"}]`, "/d/0/type"},
		{"unknown member", pay(`"creditorName":"A","creditorname":"B"`), "/d/0/creditorname"},
		{"an empty payment", `[{"type":"payment_initiation"}]`, "/d/0"},
		{"payee as object", pay(`"creditorName":{}`), "/d/0/creditorName"},
		{"payee with direction", pay(`"creditorName":"a\u202eb"`), "/d/0/creditorName"},
		{"payee of blanks", pay(`"creditorName":" "`), "/d/0/creditorName"},
		{"long payee", pay(`"creditorName":"` + strings.Repeat("x", 141) + `"`), "/d/0/creditorName"},
		{"a reference of two lines", pay(`"remittanceInformationUnstructured":"a\nb"`), "/d/0/remittanceInformationUnstructured"},
		{"no currency", amount(`"amount":"1"`), "/d/0/instructedAmount/currency"},
		{"no such currency", amount(`"currency":"EUX","amount":"1"`), "/d/0/instructedAmount/currency"},
		{"a currency in lower case", amount(`"currency":"eur","amount":"1"`), "/d/0/instructedAmount/currency"},
		{"two currencies", amount(`"currency":"EUR USD","amount":"1"`), "/d/0/instructedAmount/currency"},
		{"no amount", amount(`"currency":"EUR"`), "/d/0/instructedAmount/amount"},
		{"a comma", amount(`"currency":"EUR","amount":"1,50"`), "/d/0/instructedAmount/amount"},
		{"a sign", amount(`"currency":"EUR","amount":"-1"`), "/d/0/instructedAmount/amount"},
		{"leading zeros", amount(`"currency":"EUR","amount":"01"`), "/d/0/instructedAmount/amount"},
		{"nothing", amount(`"currency":"EUR","amount":"0.00"`), "/d/0/instructedAmount/amount"},
		{"three decimals of euro", amount(`"currency":"EUR","amount":"1.500"`), "/d/0/instructedAmount/amount"},
		{"decimals of yen", amount(`"currency":"JPY","amount":"1.5"`), "/d/0/instructedAmount/amount"},
		{"thirteen digits", amount(`"currency":"EUR","amount":"1000000000000"`), "/d/0/instructedAmount/amount"},
		{"a member of the amount", amount(`"currency":"EUR","amount":"1","x":"y"`), "/d/0/instructedAmount/x"},
		{"a wrong IBAN", pay(`"creditorAccount":{"iban":"DE02100100109307118604"}`), "/d/0/creditorAccount/iban"},
		{"an IBAN with blanks", pay(`"creditorAccount":{"iban":"DE02 1001 0010 9307 1186 03"}`), "/d/0/creditorAccount/iban"},
		{"a wrong IBAN as another number", pay(`"creditorAccount":{"bban":"DE02100100109307118604"}`), "/d/0/creditorAccount/bban"},
		{"two accounts", pay(`"creditorAccount":{"iban":"DE02100100109307118603","bban":"1"}`), "/d/0/creditorAccount"},
		{"an empty account", pay(`"creditorAccount":{}`), "/d/0/creditorAccount"},
		{"no content", `[{"type":"mobileid_signature"}]`, "/d/0/content"},
		{"content that cannot be shown", `[{"type":"mobileid_signature","content":"a\u2066b"}]`, "/d/0/content"},
		{"another content type", `[{"type":"mobileid_signature","content":"a","contentType":"text/html"}]`, "/d/0/contentType"},
		{"a text and a payment", `[{"type":"mobileid_signature","content":"a"},{"type":"payment_initiation","creditorName":"A"}]`, "/d"},
		{"a batch without an amount", `[{"type":"payment_initiation","creditorName":"A","instructedAmount":{"currency":"EUR","amount":"1"}},{"type":"payment_initiation","creditorName":"B"}]`, "/d/1/instructedAmount"},
		{"a batch in two currencies", `[{"type":"payment_initiation","creditorName":"A","instructedAmount":{"currency":"EUR","amount":"1"}},{"type":"payment_initiation","creditorName":"B","instructedAmount":{"currency":"USD","amount":"1"}}]`, "/d/1/instructedAmount/currency"},
		{"too deep", strings.Repeat("[", 20) + strings.Repeat("]", 20), "/d"},
		{"too long", `[{"type":"mobileid_signature","content":"` + strings.Repeat("x", maxDetails) + `"}]`, "/d"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := ParseDetails("d", []byte(tc.raw), Types())
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || d != nil && err == nil || e.Kind != fault.Invalid || len(e.Fields) != 1 || e.Fields[0].Pointer != tc.pointer {
				t.Errorf("%v, %v", d, err)
			}
		})
	}
	if _, err := ParseDetails("d", []byte(pay(`"creditorName":"A"`)), []string{TypeSignature}); err == nil || !strings.Contains(err.Error(), "d[0].type is not one") {
		t.Errorf("a type the client may not use: %v", err)
	}
}

func TestPSD2PaymentsNameAmountAndPayee(t *testing.T) {
	for raw, wrong := range map[string]string{
		`[{"type":"payment_initiation","creditorName":"A"}]`:                                                    "/d/0/instructedAmount",
		`[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"1"}}]`:                    "/d/0/creditorName",
		`[{"type":"payment_initiation","creditorName":"A","instructedAmount":{"currency":"EUR","amount":"1"}}]`: "",
		`[{"type":"mobileid_signature","content":"x"}]`:                                                         "",
	} {
		d, err := ParseDetails("d", []byte(raw), Types())
		if err != nil {
			t.Fatal(err)
		}
		err = d.CheckPSD2("d")
		if e, ok := errors.AsType[*fault.Error](err); wrong == "" && err != nil || wrong != "" && (!ok || e.Fields[0].Pointer != wrong) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzDetailsAreTheSameWhenReadAgain(f *testing.F) {
	f.Add([]byte(`[{"type":"payment_initiation","creditorName":"A","creditorAccount":{"bban":"12-3"},"instructedAmount":{"currency":"KWD","amount":"1.234"}}]`))
	f.Add([]byte(`[{"type":"mobileid_signature","content":"# a\n- b","contentType":"text/markdown"}]`))
	f.Add([]byte(`[{"type":"payment_initiation","creditorName":"\ud83d\ude00","x":null}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := ParseDetails("d", raw, Types())
		if err != nil {
			return
		}
		again, err := ParseDetails("d", d.Canonical, Types())
		if err != nil || string(again.Canonical) != string(d.Canonical) {
			t.Fatalf("%s became %+v, %v", d.Canonical, again, err)
		}
		p := Prompt{Client: "C", Details: d}
		for _, lang := range Languages() {
			if _, _, err := p.Render(lang); err != nil {
				t.Fatalf("%s cannot be shown in %s: %v", d.Canonical, lang, err)
			}
		}
	})
}
