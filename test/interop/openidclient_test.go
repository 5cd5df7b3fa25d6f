package interop_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// party is a relying party in JavaScript, a process that takes commands.
type party struct {
	t   *testing.T
	in  io.WriteCloser
	out chan []byte
}

func newParty(t *testing.T, script string) *party {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("Node.js is not installed: run make deps")
	}
	if _, err := os.Stat("node_modules/openid-client"); err != nil {
		t.Fatal("the relying parties are not installed: run make deps")
	}
	// Some libraries use what Node.js advises against; a party that says anything fails.
	cmd := exec.Command(node, "--no-deprecation", script)
	stderr := &logged{}
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &party{t: t, in: in, out: make(chan []byte, 1)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.out)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			p.out <- []byte(lines.Text())
		}
	}()
	t.Cleanup(func() {
		in.Close() // the end of its input is the end of the program
		ended := make(chan error, 1)
		go func() { <-read; ended <- cmd.Wait() }()
		select {
		case err = <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the relying party did not end")
			cmd.Process.Kill()
			err = <-ended
		}
		if words := stderr.String(); err != nil || words != "" {
			t.Errorf("the relying party ended with %v and said: %s", err, words)
		}
	})
	return p
}

type object = map[string]any

// send gives a command without waiting for its answer.
func (p *party) send(name string, args object) {
	p.t.Helper()
	command := object{"do": name}
	for k, v := range args {
		command[k] = v
	}
	line, err := json.Marshal(command)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatal(err)
	}
}

// answer is what the command that was sent gave; failed is the error's name.
func (p *party) answer() (ok object, failed, why string) {
	p.t.Helper()
	select {
	case line, open := <-p.out:
		var a struct {
			OK          object
			Failed, Why string
		}
		if !open {
			p.t.Fatal("the relying party is gone")
		}
		if err := json.Unmarshal(line, &a); err != nil {
			p.t.Fatalf("%v: %s", err, line)
		}
		return a.OK, a.Failed, a.Why
	case <-time.After(60 * time.Second):
		p.t.Fatal("no answer from the relying party within 60 s")
	}
	return nil, "", ""
}

// do is a command that must succeed.
func (p *party) do(name string, args object) object {
	p.t.Helper()
	p.send(name, args)
	ok, failed, why := p.answer()
	if failed != "" {
		p.t.Fatalf("%s: %s: %s", name, failed, why)
	}
	return ok
}

// fails is a command that must fail with the error.
func (p *party) fails(want, name string, args object) {
	p.t.Helper()
	p.send(name, args)
	if ok, failed, why := p.answer(); failed != want {
		p.t.Fatalf("%s: got %v, failed %q (%s), want %s", name, ok, failed, why, want)
	}
}

func text(o object, path ...string) string {
	for _, name := range path[:len(path)-1] {
		o, _ = o[name].(object)
	}
	s, _ := o[path[len(path)-1]].(string)
	return s
}

func TestOpenIDClientLogsInByCodeAndRefreshes(t *testing.T) {
	t.Parallel()
	s := start(t)
	phone := s.registered(s.User)
	const callback = "https://rp.example/callback"
	for _, method := range []string{"client_secret_basic", "client_secret_post", "none"} {
		t.Run(method, func(t *testing.T) {
			c := s.client("--name", "JavaScript", "--auth-method", method, "--redirect-uri", callback, "--scope", "openid,profile,offline_access")
			rp := newParty(t, "relying.mjs")
			meta := rp.do("discover", object{"issuer": s.Issuer, "clientId": c.ID, "clientSecret": c.Secret, "method": method})
			if meta["authorization_response_iss_parameter_supported"] != true {
				t.Error("discovery does not say that iss is sent: the library would not insist on it")
			}
			login := object{"redirectUri": callback, "loginHint": s.UserRef, "scope": "openid profile offline_access"}
			w := walk(t, phone)
			to := w.login(text(rp.do("authorize", login), "url"), callback)
			got := rp.do("callback", object{"url": to.String()})
			if text(got, "claims", "sub") != s.User || text(got, "claims", "acr") != "urn:mobileid:acr:web" {
				t.Errorf("claims %v", got["claims"])
			}
			if amr, _ := got["claims"].(object)["amr"].([]any); !slices.Contains(amr, any("pin")) {
				t.Errorf("amr %v", amr)
			}
			if info := rp.do("userinfo", object{"sub": s.User}); info["name"] != "Alice Example" {
				t.Errorf("userinfo %v", info)
			}

			first := text(got, "refreshToken")
			second := rp.do("refresh", nil)
			if text(second, "claims", "sub") != s.User || text(second, "refreshToken") == first || text(second, "accessToken") == text(got, "accessToken") {
				t.Errorf("the refresh gave %v", second)
			}
			rp.do("userinfo", object{"sub": s.User})
			rp.do("refresh", nil)
			rp.fails("invalid_grant", "refresh", object{"token": first})
			rp.fails("invalid_grant", "refresh", nil) // the reuse ended the family

			// The browser knows the person by now: no phone.
			_, _, left := w.get(text(rp.do("authorize", login), "url"), callback)
			if left == nil {
				t.Fatal("the second login is not silent")
			}
			silent := rp.do("callback", object{"url": left.String()})
			if text(silent, "claims", "txn") != text(got, "claims", "txn") || silent["claims"].(object)["auth_time"] != got["claims"].(object)["auth_time"] {
				t.Errorf("the silent login says %v, the first said %v", silent["claims"], got["claims"])
			}
			rp.fails("invalid_grant", "callback", object{"url": left.String()}) // the code is good once

			// prompt=login and prompt=none, as the library's user would.
			login["prompt"] = "login"
			to = w.login(text(rp.do("authorize", login), "url"), callback)
			if again := rp.do("callback", object{"url": to.String()}); text(again, "claims", "txn") == text(got, "claims", "txn") {
				t.Error("prompt=login brought the old login")
			}
			login["prompt"] = "none"
			_, _, left = walk(t, phone).get(text(rp.do("authorize", login), "url"), callback)
			if left == nil {
				t.Fatal("prompt=none is not answered at once")
			}
			rp.fails("login_required", "callback", object{"url": left.String()})
		})
	}
}

func TestOpenIDClientRefusesAnAnswerThatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	s := start(t)
	phone := s.registered(s.User)
	const callback = "https://rp.example/callback"
	c := s.client("--redirect-uri", callback)
	rp := newParty(t, "relying.mjs")
	rp.do("discover", object{"issuer": s.Issuer, "clientId": c.ID, "clientSecret": c.Secret, "method": "client_secret_basic"})
	to := walk(t, phone).login(text(rp.do("authorize", object{"redirectUri": callback, "loginHint": s.UserRef, "scope": "openid"}), "url"), callback)
	for name, value := range map[string]string{"state": "another", "iss": "https://evil.example", "without iss": ""} {
		wrong := *to
		q := wrong.Query()
		if value == "" {
			q.Del("iss")
		} else {
			q.Set(name, value)
		}
		wrong.RawQuery = q.Encode()
		rp.fails("OAUTH_INVALID_RESPONSE", "callback", object{"url": wrong.String()})
	}
	rp.do("callback", object{"url": to.String()}) // and none of them cost the code
}

func TestOpenIDClientAsksByCIBA(t *testing.T) {
	t.Parallel()
	s := start(t)
	phone := s.registered(s.User)
	c := s.client("--name", "Call Centre", "--grant", "urn:openid:params:grant-type:ciba,refresh_token", "--scope", "openid,offline_access", "--binding", "match")
	rp := newParty(t, "relying.mjs")
	meta := rp.do("discover", object{"issuer": s.Issuer, "clientId": c.ID, "clientSecret": c.Secret, "method": "client_secret_basic"})
	if modes, _ := meta["backchannel_token_delivery_modes_supported"].([]any); !slices.Contains(modes, any("poll")) {
		t.Errorf("delivery modes %v", modes)
	}

	ack := rp.do("ask", object{"loginHint": s.UserRef, "message": "Order 4711"})
	number := text(ack, "mobileid_match_code")
	if number == "" || text(ack, "auth_req_id") == "" {
		t.Fatalf("the acknowledgement: %v", ack)
	}
	rp.send("poll", nil)
	if inbox := s.run("phone", "--state", phone.file, "inbox"); !strings.Contains(inbox, "Order 4711") || !strings.Contains(inbox, "Call Centre") {
		t.Errorf("the phone shows:\n%s", inbox)
	}
	other := "10"
	if number == other {
		other = "11"
	}
	if _, err := s.try("phone", "--state", phone.file, "answer", "--match", other); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("another number: %v, want status 3", err)
	}
	phone.approve(number)
	got, failed, why := rp.answer()
	if failed != "" {
		t.Fatalf("poll: %s: %s", failed, why)
	}
	if text(got, "claims", "sub") != s.User || !strings.HasPrefix(text(got, "claims", "txn"), "op_") {
		t.Errorf("claims %v", got["claims"])
	}
	rp.do("userinfo", object{"sub": s.User})

	rp.do("ask", object{"loginHint": s.UserRef, "message": "Order 4712"})
	phone.decline()
	rp.fails("access_denied", "poll", nil)
}
