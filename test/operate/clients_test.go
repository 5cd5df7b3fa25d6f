package operate_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db/dbtest"
	"mobileid/test/program"
)

// office runs commands beside two nodes on one PostgreSQL.
type office struct {
	*testing.T
	nodes [2]*program.Server
	env   []string
	http  http.Client
}

func newOffice(t *testing.T) *office {
	dir := t.TempDir()
	o := &office{T: t, env: []string{"MOBILEID_DB__URL=" + dbtest.Postgres(t), "MOBILEID_DATA_DIR=" + dir}}
	o.http = http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for i := range o.nodes {
		o.nodes[i] = program.Start(t, binary, dir, o.env...)
	}
	return o
}

// run is a command's answer, which must be there.
func (o *office) run(args ...string) (out map[string]any) {
	o.Helper()
	text, errs, code := program.Run(o, binary, o.env, args...)
	if code != 0 {
		o.Fatalf("%v: %d %s", args, code, errs)
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		o.Fatalf("%v printed %q: %v", args, text, err)
	}
	return out
}

// send is what each node says to the same request, as status and error code.
func (o *office) send(method, path string, header http.Header, body url.Values) (said [2]string, members [2]map[string]any) {
	o.Helper()
	for i, n := range o.nodes {
		req, err := http.NewRequest(method, n.Issuer+path, strings.NewReader(body.Encode()))
		if err != nil {
			o.Fatal(err)
		}
		if req.Header = header.Clone(); method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := o.http.Do(req)
		if err != nil {
			o.Fatal(err)
		}
		_ = json.NewDecoder(res.Body).Decode(&members[i]) // pages are none
		res.Body.Close()
		code, _ := members[i]["error"].(string)
		said[i] = strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", code))
	}
	return said, members
}

func (o *office) token(c program.Client, form ...string) (said [2]string, tokens [2]string) {
	o.Helper()
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(c.ID, c.Secret)
	v := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i+1 < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	said, members := o.send("POST", "/token", req.Header, v)
	for i, m := range members {
		tokens[i], _ = m["access_token"].(string)
	}
	return said, tokens
}

func (o *office) want(what string, got [2]string, want string) {
	o.Helper()
	if got != [2]string{want, want} {
		o.Errorf("%s: the nodes say %q, want %q of both", what, got, want)
	}
}

// Each node has just served the client, so that it would go by what it knows for 2 s.
func TestACommandThatChangesAClientReturnsWhenEveryNodeFollows(t *testing.T) {
	o := newOffice(t)
	old := o.nodes[0].Backend
	said, given := o.token(old)
	o.want("at first", said, "200")

	fresh := program.Client{ID: old.ID, Secret: o.run("client", "rotate", old.ID, "--overlap", "0s")["client_secret"].(string)}
	said, _ = o.token(old)
	o.want("the old secret", said, "401 invalid_client")
	said, _ = o.token(fresh)
	o.want("the new secret", said, "200")

	out := o.run("client", "update", old.ID, "--scope", "openid,mobileid.users", "--name", "Renamed")
	said, _ = o.token(fresh, "scope", "mobileid.devices")
	o.want("a scope that was taken away", said, "400 invalid_scope")
	changed := out["changed"].(map[string]any)
	if len(changed) != 2 || fmt.Sprint(changed["client_name"]) != "map[from:Acme Backend to:Renamed]" || fmt.Sprint(changed["scopes"].(map[string]any)["to"]) != "[openid mobileid.users]" {
		t.Errorf("update printed %v", out)
	}

	rest := func(token string) [2]string {
		said, _ := o.send("GET", "/api/v1/users/"+o.nodes[0].UserID, http.Header{"Authorization": {"Bearer " + token}}, nil)
		return said
	}
	o.want("a token of before", rest(given[0]), "200")
	if out := o.run("client", "disable", old.ID); out["state"] != "disabled" || out["client_id"] != old.ID {
		t.Errorf("disable printed %v", out)
	}
	said, _ = o.token(fresh)
	o.want("disabled", said, "401 invalid_client")
	o.want("a token of a disabled client", rest(given[0]), "401")
	if out := o.run("client", "enable", old.ID); out["state"] != "enabled" {
		t.Errorf("enable printed %v", out)
	}
	said, given2 := o.token(fresh)
	o.want("enabled again", said, "200")
	o.want("a token of before it was disabled", rest(given[1]), "401")
	o.want("one of after", rest(given2[0]), "200")

	page := func() [2]string {
		said, _ := o.send("GET", "/authorize?"+url.Values{"client_id": {o.nodes[0].Shop.ID}, "redirect_uri": {"https://a.example/cb"}, "response_type": {"code"}, "scope": {"openid"},
			"prompt": {"none"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}.Encode(), nil, nil)
		return said
	}
	o.want("an address that is not registered", page(), "400")
	o.run("client", "update", o.nodes[0].Shop.ID, "--redirect-uri", "https://a.example/cb")
	o.want("registered", page(), "303")
	o.run("client", "disable", o.nodes[0].Shop.ID)
	o.want("authorize for a disabled client", page(), "400")

	export, _, _ := program.Run(t, binary, o.env, "audit", "export")
	for act, n := range map[string]int{"client.secret_rotated": 1, "client.updated": 2, "client.disabled": 2, "client.enabled": 1} {
		if got := strings.Count(export, `"act":"`+act+`"`); got != n {
			t.Errorf("%d records of %s, want %d", got, act, n)
		}
	}
}

func TestAClientIsUpdatedByTheRulesItWasCreatedBy(t *testing.T) {
	env := []string{"MOBILEID_DATA_DIR=" + t.TempDir()}
	run := func(args ...string) (out map[string]any, errs string, code int) {
		text, errs, code := program.Run(t, binary, env, args...)
		_ = json.Unmarshal([]byte(text), &out) // not if it was refused
		return out, errs, code
	}
	if _, errs, code := run("merchant", "create", "Acme"); code != 0 {
		t.Fatal(errs)
	}
	c, errs, code := run("client", "create", "--redirect-uri", "https://a.example/cb", "--third-party")
	if code != 0 {
		t.Fatal(errs)
	}
	id := c["client_id"].(string)
	for _, tc := range []struct {
		says string
		args []string
	}{
		{"no such client: cli_none", []string{"update", "cli_none", "--name", "x"}},
		{"no such client: cli_none", []string{"disable", "cli_none"}},
		{"no such client: cli_none", []string{"enable", "cli_none"}},
		{"no such client: cli_none", []string{"rotate", "cli_none"}},
		{"authorization_code needs a redirect URI", []string{"update", id, "--redirect-uri", ""}},
		{"id_token_signed_response_alg is one of", []string{"update", id, "--id-token-alg", "none", "--name", "Other"}},
		{"private_key_jwt needs the client's public keys", []string{"update", id, "--auth-method", "private_key_jwt"}},
	} {
		if _, errs, code := run(append([]string{"client"}, tc.args...)...); code != 3 || !strings.Contains(errs, tc.says) {
			t.Errorf("%v: %d %s", tc.args, code, errs)
		}
	}
	for _, tc := range []struct {
		args   []string
		want   string
		secret bool
	}{
		{nil, `{}`, false},
		{[]string{"--third-party"}, `{}`, false},
		{[]string{"--third-party=false"}, `{"third_party":{"from":true}}`, false},
		{[]string{"--auth-method", "none"}, `{"token_endpoint_auth_method":{"from":"client_secret_basic","to":"none"}}`, false},
		{[]string{"--auth-method", "client_secret_post"}, `{"token_endpoint_auth_method":{"from":"none","to":"client_secret_post"}}`, true},
		{[]string{"--auth-method", "client_secret_basic"}, `{"token_endpoint_auth_method":{"from":"client_secret_post","to":"client_secret_basic"}}`, false},
		{[]string{"--authorization-details-type", "payment_initiation"}, `{"authorization_details_types":{"to":["payment_initiation"]}}`, false},
		{[]string{"--authorization-details-type", ""}, `{"authorization_details_types":{"from":["payment_initiation"]}}`, false},
	} {
		out, errs, code := run(append([]string{"client", "update", id}, tc.args...)...)
		got, err := json.Marshal(out["changed"])
		if code != 0 || err != nil || string(got) != tc.want || (out["client_secret"] != nil) != tc.secret {
			t.Errorf("%v: %d %s %v", tc.args, code, errs, out)
		}
	}
}
