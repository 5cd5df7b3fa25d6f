package attacks

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"mobileid/test/rig"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// hostile are messages that are none.
func hostile() map[string]string {
	return map[string]string{
		"J1 none":                    b64(`{"alg":"none"}`) + "." + b64(`{"sub":"usr_x"}`) + ".",
		"J1 nOnE":                    b64(`{"alg":"nOnE"}`) + "." + b64(`{"sub":"usr_x"}`) + ".",
		"J1 no alg":                  b64(`{}`) + "." + b64(`{}`) + "." + b64("x"),
		"J2 HS256":                   b64(`{"alg":"HS256","kid":"x"}`) + "." + b64(`{}`) + "." + b64(strings.Repeat("x", 32)),
		"J4 jwk":                     b64(`{"alg":"ES256","jwk":{"kty":"EC"}}`) + "." + b64(`{}`) + "." + b64(strings.Repeat("x", 64)),
		"J8 empty parts":             "....",
		"J8 five short parts":        "a.b.c.d.e",
		"J8 an empty key":            b64(`{"alg":"ECDH-ES","enc":"A256GCM","typ":"mid+jwe","cty":"JWT","kid":"x","epk":{}}`) + "....",
		"J9 dots":                    strings.Repeat(".", 30_000),
		"J9 deep":                    b64(strings.Repeat(`{"a":`, 5000)) + "....",
		"J9 twice":                   b64(`{"alg":"ECDH-ES","alg":"none"}`) + "....",
		"J12 JSON serialisation":     `{"protected":"","recipients":[],"ciphertext":""}`,
		"J12 an array":               `[1]`,
		"nothing":                    "",
		"NUL":                        "\x00",
		"not base64url":              "+/=.+/=.+/=.+/=.+/=",
		"J9 30 kB of one character":  strings.Repeat("A", 30_000),
		"a very long header":         b64(`{"alg":"`+strings.Repeat("x", 20_000)+`"}`) + "....",
		"a header that is no object": b64(`"alg"`) + "....",
	}
}

func TestJ_HostileMessagesToThePhonesAddressAreOneRefusal(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	for name, body := range hostile() {
		a := promptly(t, name, func() rig.Answer { return r.RPC(body) })
		code := a.Text("code")
		if a.Status != 400 || code != "malformed" && code != "unsupported-suite" || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", name, a)
		}
	}
	is(t, "J9 too long", r.RPC(strings.Repeat("A", 70_000)), nil, "413 malformed")
	is(t, "another media type", send(t, r, "POST", "/mid/v1/rpc", "x", "Content-Type", "application/json"), nil, "400 malformed")
	for name, c := range map[string]string{"none": "", "short": "x", "long": strings.Repeat("A", 1000), "with a blank": "AAAAAAAAAAA+AAAAAAAAAA"} {
		is(t, "a challenge "+name, r.Get("/mid/v1/keys?c="+url.QueryEscape(c)), nil, "400 malformed")
	}
}

func TestJ_HostileBearerTokensAre401(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	tokens := r.Redeem(r.Login(r.Browser(), u, p).Get("code"))
	made := hostile()
	for name, from := range map[string]string{"B11 an ID token": "id_token", "B11 a refresh token": "refresh_token"} {
		made[name] = tokens.Text(from)
	}
	good := tokens.Text("access_token")
	made["B10 truncated"], made["B10 extended"] = good[:len(good)-1], good+"A"
	flipped := []byte(good)
	flipped[len(flipped)/2] ^= 1
	made["B10 one bit"] = string(flipped)
	made["its digest"] = b64(good)
	for name, token := range made {
		if strings.ContainsRune(token, 0) || len(token) > 12_000 {
			continue // no header
		}
		for _, path := range []string{"/userinfo", "/api/v1/registrations/op_x"} {
			a := promptly(t, name+" at "+path, func() rig.Answer { return r.Get(path, "Authorization", "Bearer "+token) })
			if a.Status != 401 || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s at %s: %s", name, path, a)
			}
		}
	}
	if a := r.Get("/userinfo", "Authorization", "Bearer "+good); a.Status != 200 {
		t.Errorf("the good one: %s", a)
	}
	if a := r.Get("/api/v1/registrations/op_x", "Authorization", "Bearer "+good); a.Status != 403 {
		t.Errorf("a user's token at the REST API: %s", a)
	}
}
