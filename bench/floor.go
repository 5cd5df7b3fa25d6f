package main

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// floor is a server that does of each flow only what no server can leave out:
// net/http, reading the form, the cryptography, reading and writing one
// short-lived record a request, one durable commit where something is decided or
// redeemed. It has one client, one user and no rules: nothing it says is safe.
type floor struct {
	kv     floorStore
	commit func(id string) error // durable
	record []byte                // a stored record of usual size
	client string                // Authorization header
	secret [32]byte
	oidc   *ecdsa.PrivateKey
	device *ecdsa.PublicKey
	tek    *ecdh.PrivateKey
	doc    []byte
	length []string // of doc
}

// The public documents are as long as ours: what is written to the network is no
// less. Each run holds them against the server's.
const (
	discoveryBytes = 2720
	keysBytes      = 215
)

// floorStore is one table of bytes by key.
type floorStore interface {
	set(key string, val []byte) error
	get(key string) ([]byte, error)
}

// fixture is what the load generator sends to a floor server; the messages are
// a phone's, and may be sent as often as wanted.
type fixture struct {
	Client       string // Authorization line
	List, Answer []byte
}

var (
	b64      = base64.RawURLEncoding
	errFloor = errors.New("floor: refused")
)

func newFloor(dir, redis string) (*floor, *fixture, error) {
	f := &floor{record: make([]byte, 300), doc: make([]byte, discoveryBytes), length: []string{strconv.Itoa(discoveryBytes)}, client: basic(credentials{"cli_floor", rand.Text()})[len("Authorization: "):]}
	rand.Read(f.record)
	for i := range f.doc {
		f.doc[i] = 'x'
	}
	f.secret = sha256.Sum256([]byte(f.client))
	durable, err := openFloorSQLite(filepath.Join(dir, "durable.db"), true)
	if err != nil {
		return nil, nil, err
	}
	f.commit = func(id string) error { return durable.set(id, f.record) }
	if redis != "" {
		f.kv = newFloorRedis(redis)
	} else if f.kv, err = openFloorSQLite(filepath.Join(dir, "kv.db"), false); err != nil {
		return nil, nil, err
	}
	if f.oidc, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	if f.tek, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		return nil, nil, err
	}
	dsk, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	f.device = &dsk.PublicKey
	if err := f.kv.set("session", f.record); err != nil {
		return nil, nil, err
	}
	fix := &fixture{Client: "Authorization: " + f.client}
	if fix.List, err = sealFloor(f.tek.PublicKey(), dsk, 300, 1); err != nil {
		return nil, nil, err
	}
	fix.Answer, err = sealFloor(f.tek.PublicKey(), dsk, 900, 2)
	return f, fix, err
}

func (f *floor) handler(fix *fixture) http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, h func(w http.ResponseWriter, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			body, err := h(w, r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			switch body := body.(type) {
			case nil:
			case []byte:
				_, err = w.Write(body)
			default:
				var text []byte
				if text, err = json.Marshal(body); err == nil {
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Cache-Control", "no-store")
					_, err = w.Write(text)
				}
			}
			_ = err // the reader has gone
		})
	}
	route("GET /fixture", func(http.ResponseWriter, *http.Request) (any, error) { return fix, nil })
	kind := []string{"application/json"}
	route("GET /doc", func(w http.ResponseWriter, _ *http.Request) (any, error) {
		h := w.Header()
		h["Content-Type"], h["Content-Length"] = kind, f.length
		return f.doc, nil
	})
	route("GET /keys", func(w http.ResponseWriter, _ *http.Request) (any, error) {
		w.Header()["Content-Type"] = kind
		return f.doc[:keysBytes], nil
	})
	route("POST /token", f.token)
	route("POST /token-jwt", f.tokenJWT)
	route("POST /start", f.start)
	route("POST /redeem", f.redeem)
	route("GET /authorize", f.authorize)
	route("GET /userinfo", f.userinfo)
	route("POST /list", f.list)
	route("POST /answer", f.answer)
	return mux
}

type floorTokens struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	Scope       string `json:"scope"`
	IDToken     string `json:"id_token,omitempty"`
}

func random() string {
	var b [32]byte
	rand.Read(b[:])
	return b64.EncodeToString(b[:])
}

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return b64.EncodeToString(sum[:])
}

// authenticate reads the form and checks the client's secret.
func (f *floor) authenticate(r *http.Request) error {
	sum := sha256.Sum256([]byte(r.Header.Get("Authorization")))
	if subtle.ConstantTimeCompare(sum[:], f.secret[:]) != 1 {
		return errFloor
	}
	return r.ParseForm()
}

// issue stores an access token: every flow with tokens ends here.
func (f *floor) issue() (*floorTokens, error) {
	t := &floorTokens{AccessToken: random(), TokenType: "Bearer", ExpiresIn: 300, Scope: "openid"}
	return t, f.kv.set(hashed(t.AccessToken), f.record)
}

func (f *floor) token(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := f.authenticate(r); err != nil {
		return nil, err
	}
	return f.issue()
}

// tokenJWT issues a token that says all about itself: nothing is stored.
func (f *floor) tokenJWT(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := f.authenticate(r); err != nil {
		return nil, err
	}
	jwt, err := f.sign(`{"iss":"http://localhost:8080","sub":"cli_","exp":1800000000,"iat":1800000000,"jti":"` + random() + `","pad":"` + string(f.doc[:150]) + `"}`)
	return &floorTokens{AccessToken: jwt, TokenType: "Bearer", ExpiresIn: 300, Scope: "mobileid.users"}, err
}

// sign makes a JWT of the payload.
func (f *floor) sign(payload string) (string, error) {
	input := b64.EncodeToString([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + b64.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	sig, err := ecdsa.SignASN1(rand.Reader, f.oidc, sum[:])
	return input + "." + b64.EncodeToString(sig), err
}

func (f *floor) start(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := f.authenticate(r); err != nil {
		return nil, err
	}
	id := random()
	return struct {
		AuthReqID string `json:"auth_req_id"`
		ExpiresIn int    `json:"expires_in"`
	}{id, 180}, f.kv.set(hashed(id), f.record)
}

// redeem is a code or an auth_req_id for tokens.
func (f *floor) redeem(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := f.authenticate(r); err != nil {
		return nil, err
	}
	id := hashed(r.PostForm.Get("value"))
	if _, err := f.kv.get(id); err != nil {
		return nil, err
	}
	if err := f.commit(id); err != nil {
		return nil, err
	}
	t, err := f.issue()
	if err != nil {
		return nil, err
	}
	t.IDToken, err = f.sign(`{"iss":"http://localhost:8080","sub":"usr_","exp":1800000000,"iat":1800000000,"at_hash":"` + hashed(t.AccessToken) + `","pad":"` + string(f.doc[:300]) + `"}`)
	return t, err
}

func (f *floor) authorize(w http.ResponseWriter, r *http.Request) (any, error) {
	c, err := r.Cookie("mid")
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	if _, err := f.kv.get(c.Value); err != nil {
		return nil, err
	}
	code := random()
	w.Header().Set("Location", q.Get("redirect_uri")+"?code="+code+"&state="+q.Get("state"))
	w.WriteHeader(http.StatusSeeOther)
	return nil, f.kv.set(hashed(code), f.record)
}

func (f *floor) userinfo(_ http.ResponseWriter, r *http.Request) (any, error) {
	_, err := f.kv.get(hashed(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	return map[string]string{"sub": "usr_"}, err
}

func (f *floor) list(_ http.ResponseWriter, r *http.Request) (any, error) {
	_, key, err := f.open(r, 1)
	if err != nil {
		return nil, err
	}
	if _, err := f.kv.get("session"); err != nil {
		return nil, err
	}
	return encrypt(key, f.doc[:900])
}

func (f *floor) answer(_ http.ResponseWriter, r *http.Request) (any, error) {
	_, key, err := f.open(r, 2)
	if err != nil {
		return nil, err
	}
	id := random()
	if err := f.commit(id); err != nil {
		return nil, err
	}
	if err := f.kv.set(id, f.record); err != nil {
		return nil, err
	}
	return encrypt(key, f.doc[:300])
}

// open is key agreement, decryption, and as many signatures as are asked for.
func (f *floor) open(r *http.Request, signatures int) (plain, key []byte, err error) {
	body, err := io.ReadAll(r.Body)
	if err != nil || len(body) < 65 {
		return nil, nil, errFloor
	}
	eph, err := ecdh.P256().NewPublicKey(body[:65])
	if err != nil {
		return nil, nil, err
	}
	z, err := f.tek.ECDH(eph)
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(z)
	if plain, err = decrypt(sum[:], body[65:]); err != nil {
		return nil, nil, err
	}
	return plain, sum[:], verifyFloor(f.device, plain, signatures)
}

// floorMain is the floor server's process: it writes its address into the
// folder and serves until it is told to end.
func floorMain(ctx context.Context, dir, redis string) error {
	f, fix, err := newFloor(dir, redis)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: f.handler(fix)}
	context.AfterFunc(ctx, func() { srv.Close() })
	tmp := filepath.Join(dir, "address.new")
	if err := os.WriteFile(tmp, []byte(ln.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, "address")); err != nil {
		return err
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("floor: %w", err)
	}
	return nil
}
