package view

import (
	"os"
	"strings"
	"testing"
	"time"

	"mobileid/sdk/wire"
)

func details(t *testing.T, raw string) *Details {
	t.Helper()
	d, err := ParseDetails("d", []byte(raw), Types())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEveryTemplateInEveryLanguage holds what phones show, letter by letter.
func TestEveryTemplateInEveryLanguage(t *testing.T) {
	at := time.Date(2026, 3, 9, 14, 5, 0, 0, time.FixedZone("", 3600))
	prompts := []struct {
		name string
		Prompt
	}{
		{"login", Prompt{Purpose: LogIn, Client: "Acme Shop", Merchant: "Acme", Browser: "Firefox on Linux", Address: "192.0.2.7", Time: at}},
		{"request", Prompt{Client: "Acme Call Centre", Merchant: "Acme", Message: "Ticket 4711", Time: at}},
		{"payment", Prompt{Client: "Acme Bank", Merchant: "Acme", Time: at, Details: details(t, `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"1234567.5"},
			"creditorName":"Bäckerei Müller","creditorAccount":{"iban":"DE02100100109307118603"},"remittanceInformationUnstructured":"Invoice 7"}]`)}},
		{"payment in yen", Prompt{Client: "Acme Bank", Merchant: "Acme", Time: at, Details: details(t, `[{"type":"payment_initiation","instructedAmount":{"currency":"JPY","amount":"1500"},"creditorName":"Sushi","creditorAccount":{"bban":"12-3"}}]`)}},
		{"batch", Prompt{Client: "Acme Bank", Merchant: "Acme", Time: at, Details: details(t, `[{"type":"payment_initiation","instructedAmount":{"currency":"NOK","amount":"0.05"},"creditorName":"Per"},
			{"type":"payment_initiation","instructedAmount":{"currency":"NOK","amount":"2000"},"creditorName":"Kari","remittanceInformationUnstructured":"Rent"}]`)}},
		{"context", Prompt{Client: "Acme", Merchant: "Acme", Time: at, Content: []wire.Block{{T: wire.Paragraph, Text: "Open the gate"}}}},
		{"signature", Prompt{Purpose: Sign, Client: "Acme", Merchant: "Acme", Time: at, Details: SignatureDetails(Content{Text: "# Terms\n- one\n- two", Type: Markdown})}},
	}
	var sb strings.Builder
	for _, p := range prompts {
		for _, lang := range Languages() {
			view, tpl, err := p.Render(lang)
			if err != nil {
				t.Fatalf("%s in %s: %v", p.name, lang, err)
			}
			blocks, err := wire.ParseView(view)
			if err != nil {
				t.Fatalf("%s in %s: %v", p.name, lang, err)
			}
			sb.WriteString("== " + p.name + ", " + tpl + ", " + lang + "\n" + wire.ViewText(blocks))
		}
	}
	want, err := os.ReadFile("testdata/views.golden.txt")
	if err != nil || sb.String() != string(want) {
		got := strings.Split(sb.String(), "\n")
		for i, line := range strings.Split(string(want), "\n") {
			if i >= len(got) || got[i] != line {
				t.Fatalf("line %d differs from %q (%v); all of it is\n%s", i+1, line, err, sb.String())
			}
		}
		t.Fatalf("%v\n%s", err, sb.String())
	}
}

func TestTheFirstWishThatIsSpokenDecides(t *testing.T) {
	for _, tc := range []struct {
		want   string
		wishes []string
	}{
		{"en", nil}, {"de", []string{"de-AT"}}, {"nb", []string{"fr", "no-NO", "de"}}, {"nb", []string{"nn"}}, {"es", []string{"", "es_419"}},
		{"en", []string{"fr", "deu"}}, {"en", []string{"EN", "de"}},
	} {
		if got := Language(tc.wishes...); got != tc.want {
			t.Errorf("%v: %s", tc.wishes, got)
		}
	}
}
