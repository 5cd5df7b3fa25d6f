package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"mobileid/sdk/wire"
)

// phone is a registered phone that keeps everything in memory and skips what
// only its owner needs: KK lies open, since hiding it under a PIN costs the phone
// a hundred thousand hashes and the server nothing.
type phone struct {
	origin, host string
	tek          wire.SealKey
	dsk          *ecdsa.PrivateKey
	kk           []byte
	device, head string
	sent         *wire.Sent // not answered yet
}

// message is the HTTP request that carries a call, made ahead of being measured.
func (p *phone) message(op string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	rk := make([]byte, wire.KeySize)
	rand.Read(rk)
	now := time.Now().Unix()
	c := wire.Claims{V: wire.Version, Iss: p.device, Aud: p.origin, Op: op, JTI: rand.Text(), Iat: now, Exp: now + wire.RequestLife, RK: rk, Body: raw}
	if op != wire.OpList {
		c.Head = p.head
	}
	return p.seal(c)
}

func (p *phone) seal(c wire.Claims) ([]byte, error) {
	sent, err := wire.SealRequest(c, p.dsk, p.tek, rand.Reader)
	if err != nil {
		return nil, err
	}
	p.sent = sent
	return request("POST", p.host, "/mid/v1/rpc", []byte(sent.JWE), "Content-Type: application/jose"), nil
}

// read opens the reply to the last message.
func (p *phone) read(reply []byte, into any) error {
	r, err := wire.OpenReply(p.sent, reply)
	if err != nil {
		return err
	}
	if r.Head != "" {
		p.head = r.Head
	}
	if r.Err != nil {
		return fmt.Errorf("%s: %w", p.sent.Op, r.Err)
	}
	return wire.Unmarshal(r.Body, into)
}

// register makes a phone out of a registration link.
func register(c *conn, tek wire.SealKey, link string) (*phone, error) {
	t, err := wire.ParseLink(link)
	if err != nil {
		return nil, err
	}
	p := &phone{origin: t.Origin, host: hostOf(t.Origin), tek: tek, kk: make([]byte, wire.KeySize)}
	rand.Read(p.kk)
	if p.dsk, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	jwk, err := wire.PublicJWK(p.dsk)
	if err != nil {
		return nil, err
	}
	np := make([]byte, wire.NonceSize)
	rand.Read(np)
	fc := wire.Commitment(np)
	jti := rand.Text()
	tm := wire.TicketMAC(t.Secret, tek.Kid, jti, jwk.Thumbprint(), fc)
	body, err := json.Marshal(wire.RegBegin{Ticket: t.ID, FC: fc[:], TM: tm[:], Platform: "cli", Model: "Load"})
	if err != nil {
		return nil, err
	}
	rk := make([]byte, wire.KeySize)
	rand.Read(rk)
	now := time.Now().Unix()
	req, err := p.seal(wire.Claims{V: wire.Version, Iss: jwk.ThumbprintURI(), Aud: p.origin, Op: wire.OpRegBegin, JTI: jti,
		Iat: now, Exp: now + wire.RequestLife, RK: rk, Body: body})
	if err != nil {
		return nil, err
	}
	var begun wire.RegBeginReply
	if err := p.call(c, req, &begun); err != nil {
		return nil, err
	}
	p.device = begun.Device
	if req, err = p.message(wire.OpRegFinish, wire.RegFinish{NP: np, KK: p.kk}); err != nil {
		return nil, err
	}
	var done wire.RegState
	if err := p.call(c, req, &done); err != nil {
		return nil, err
	}
	if done.State != wire.RegActive {
		return nil, errors.New("the phone is " + done.State)
	}
	return p, nil
}

func (p *phone) call(c *conn, req []byte, into any) error {
	a, err := c.want(http.StatusOK, req)
	if err != nil {
		return err
	}
	return p.read(a.body, into)
}

// approval is the message that says yes to op; match is the number on the
// screen, "" where there is none.
func (p *phone) approval(op *wire.Operation, match string) ([]byte, error) {
	c := wire.ClaimsFor(op)
	c.Dec, c.Iat, c.JTI = wire.Approve, time.Now().Unix(), rand.Text()
	ans, err := wire.SignAnswer(p.dsk, c)
	if err != nil {
		return nil, err
	}
	kpf := wire.AnswerProof(p.kk, wire.AnswerHash(ans), op.Chal)
	return p.message(wire.OpAnswer, wire.Answer{Ans: ans, KPF: kpf[:], Match: match})
}

// sealKey fetches the key that requests are sealed to.
func sealKey(c *conn, origin string) (wire.SealKey, error) {
	challenge := rand.Text()
	a, err := c.want(http.StatusOK, request("GET", hostOf(origin), "/mid/v1/keys?c="+challenge, nil))
	if err != nil {
		return wire.SealKey{}, err
	}
	set, _, err := wire.OpenKeySet(string(a.body), origin, "", challenge)
	if err != nil {
		return wire.SealKey{}, err
	}
	return set.Pick()
}
