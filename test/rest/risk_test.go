package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"mobileid/internal/identity"
	"mobileid/internal/risk"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

func TestRiskSettingsThatCannotHoldAreRefusedAndNamed(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	for pointer, settings := range map[string]map[string]any{
		"/settings/risk":              {"risk": "SOMETIMES"},
		"/settings/blockFindings/1":   {"risk": "OPTIONAL", "blockFindings": []string{"rooted", "haunted"}},
		"/settings/blockFindings":     {"blockFindings": []string{"rooted"}},
		"/settings/allowCountries/0":  {"risk": "REQUIRED", "allowCountries": []string{"Norway"}},
		"/settings/allowCountries":    {"risk": "REQUIRED", "allowCountries": []string{"XX"}},
		"/settings/denyCountries":     {"risk": "REQUIRED", "allowCountries": []string{"NO"}, "denyCountries": []string{"SE"}},
		"/settings/denyCountries/2":   {"risk": "REQUIRED", "denyCountries": []string{"SE", "NO", "se"}},
		"/settings/blockFindings/0":   {"risk": "REQUIRED", "blockFindings": []any{7}},
		"/settings/denyCountriesList": {"risk": "REQUIRED", "denyCountriesList": []string{"SE"}},
	} {
		a := r.REST("POST", "/apps", map[string]any{"name": "Broken", "settings": settings})
		if a.Status != http.StatusBadRequest || !names(a, pointer) {
			t.Errorf("%v: %s, want %s", settings, a, pointer)
		}
	}
	good := map[string]any{"risk": "REQUIRED", "blockFindings": []string{"rooted", "overlay"}, "denyCountries": []string{"KP"}}
	made := r.REST("POST", "/apps", map[string]any{"name": "Kept", "settings": good})
	kept, _ := made.JSON["settings"].(map[string]any)
	if made.Status != http.StatusCreated || kept["risk"] != "REQUIRED" || len(kept["blockFindings"].([]any)) != 2 || len(kept["denyCountries"].([]any)) != 1 {
		t.Fatal(made)
	}
	// What was saved cannot be made to contradict itself by a patch.
	for _, patch := range []map[string]any{{"risk": "OFF"}, {"risk": nil}, {"allowCountries": []string{"NO"}}} {
		a := r.REST("PATCH", "/apps/"+made.Text("id"), map[string]any{"settings": patch}, "If-Match", made.Header.Get("Etag"))
		if a.Status != http.StatusBadRequest {
			t.Errorf("%v: %s", patch, a)
		}
	}
	if a := r.REST("PATCH", "/apps/"+made.Text("id"), map[string]any{"settings": map[string]any{"risk": nil, "blockFindings": nil, "denyCountries": nil}}, "If-Match", made.Header.Get("Etag")); a.Status != http.StatusOK {
		t.Error(a)
	}
}

// The contract lists what phones may find word for word.
func TestTheContractHasTheFindingsOfTheProtocol(t *testing.T) {
	var got []string
	for _, f := range contract(t).Components.Schemas["AppSettings"].Value.Properties["blockFindings"].Value.Items.Value.Enum {
		got = append(got, f.(string))
	}
	if !slices.Equal(got, wire.Findings()) {
		t.Errorf("%v, want %v", got, wire.Findings())
	}
}

type says wire.Risk

func (s says) Measure(context.Context) (wire.Risk, error) { return wire.Risk(s), nil }

func TestD23_ARegistrationIsJudgedToo(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Confirm: identity.ConfirmDigits, Risk: risk.Rules{Mode: risk.Required, BlockFindings: []string{"emulator"}}}})
	begin := func(speak sdk.Risk) (string, *sdk.Phone, *sdk.Registration, error) {
		a := r.REST("POST", "/registrations", map[string]any{"userId": r.User().ID})
		p := r.Phone()
		p.Risk = speak
		if _, err := p.Register(t.Context(), a.Text("link")); err != nil {
			t.Fatal(err)
		}
		reg, err := p.Finish(t.Context(), rig.PIN)
		return a.Text("id"), p, reg, err
	}
	told := func(id string) map[string]any {
		a := r.REST("GET", "/registrations/"+id, nil)
		out, _ := a.JSON["risk"].(map[string]any)
		if out == nil {
			out = map[string]any{}
		}
		out["state"], out["reason"] = a.JSON["state"], a.JSON["reason"]
		return out
	}
	for check, speak := range map[string]sdk.Risk{"missing": nil, "finding": says{Findings: []string{"emulator"}}, "stale": says{At: 1}} {
		id, p, _, err := begin(speak)
		if e := r.Refused(err, wire.Need); !slices.Equal(e.Need, []string{wire.NeedRisk}) {
			t.Errorf("%s: the phone is told %+v", check, e)
		}
		if got := told(id); got["state"] != "CANCELLED" || got["reason"] != "risk_blocked" || got["check"] != check || got["verdict"] != "blocked" {
			t.Errorf("%s: %v", check, got)
		}
		if d := r.Device(p); d.State != "DEACTIVATED" || len(d.KK) != 0 {
			t.Errorf("%s: the device is %s", check, d.State)
		}
	}
	id, p, reg, err := begin(says{Findings: []string{"vpn"}, Country: "NO", CountrySource: wire.CountryNetwork})
	if err != nil || !reg.Compare {
		t.Fatal(reg, err)
	}
	if a := r.REST("POST", "/registrations/"+id+"/confirm", map[string]any{"digits": reg.Digits}); a.Status != http.StatusOK {
		t.Fatal(a)
	}
	if got := told(id); got["state"] != "COMPLETED" || got["verdict"] != "accepted" || got["country"] != "NO" || got["countrySource"] != "network" || got["at"] == nil {
		t.Errorf("%v", got)
	}
	if reg, err := p.Status(t.Context()); err != nil || reg.State != wire.RegActive {
		t.Errorf("%+v %v", reg, err)
	}
}

// Webhooks carry the outcome as it is stored, so what the decision has is what is told.
func TestTheOutcomeThatIsToldHasTheRiskInTheNamesOfTheContract(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Risk: risk.Rules{Mode: risk.Optional}}})
	u, p := r.Person()
	p.Risk = says{Findings: []string{"vpn"}, Country: "NO", CountrySource: wire.CountryPosition, OS: "16", App: "4.2"}
	started := r.REST("POST", "/authentications", map[string]any{"userId": u.ID})
	r.Approve(p, started.Text("matchCode"))
	rest := r.REST("GET", "/authentications/"+started.Text("id"), nil)
	out, _ := r.Decision(started.Text("id"))
	text, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var stored struct{ Risk map[string]any }
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	told, _ := rest.JSON["risk"].(map[string]any)
	if len(told) != 9 || told["osVersion"] != "16" || told["appVersion"] != "4.2" {
		t.Errorf("%v", told)
	}
	for name, v := range told {
		got, err1 := json.Marshal(stored.Risk[name])
		want, err2 := json.Marshal(v)
		if err1 != nil || err2 != nil || string(got) != string(want) {
			t.Errorf("%s: the outcome says %s, REST %s", name, got, want)
		}
	}
}
