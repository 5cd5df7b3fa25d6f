package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"mobileid/internal/evidence"
)

const (
	payment = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"12.50"},"creditorName":"Smoke Bakery"}]`
	// cibaGrant is the grant type of CIBA, section 10.1.
	cibaGrant = "urn:openid:params:grant-type:ciba"
)

// dataHash is the hash of authorization details as docs/oidc.md tells to recompute
// it. encoding/json writes what RFC 8785 does as long as all is ASCII text.
func dataHash(details []byte) (string, error) {
	var value any
	if err := json.Unmarshal(details, &value); err != nil {
		return "", err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return "", err
	}
	sum := sha256.Sum256(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// pay approves the one operation that waits, which must show the payment.
func (s *story) pay(ctx context.Context, match string) error {
	op, err := s.waiting(ctx)
	if err != nil {
		return err
	}
	if !strings.Contains(string(op.View), "Smoke Bakery") || !strings.Contains(string(op.View), "12.50") {
		return fmt.Errorf("the phone does not show the payment but %s", op.View)
	}
	_, err = s.phone.Approve(ctx, op, smokePIN, match)
	return err
}

func (s *story) restPayment(ctx context.Context) error {
	var op struct{ ID, State, MatchCode, DataHash string }
	body := map[string]any{"userId": s.user, "authorizationDetails": json.RawMessage(payment)}
	if err := s.rest(ctx, "POST", "/api/v1/authentications", body, http.StatusCreated, &op); err != nil {
		return err
	}
	if err := s.pay(ctx, op.MatchCode); err != nil {
		return err
	}
	if err := s.rest(ctx, "GET", "/api/v1/authentications/"+op.ID+"?wait=10s", nil, http.StatusOK, &op); err != nil {
		return err
	}
	want, err := dataHash([]byte(payment))
	if err == nil && (op.State != "COMPLETED" || op.DataHash != want) {
		err = fmt.Errorf("the outcome is %+v, want the hash %s", op, want)
	}
	return err
}

func (s *story) cibaPayment(ctx context.Context) error {
	var a ack
	form := url.Values{"scope": {"openid"}, "login_hint": {s.ref}, "authorization_details": {payment}}
	if err := s.form(ctx, s.Backend, "/bc-authorize", form, http.StatusOK, &a); err != nil {
		if s.Shop.ID == "" && strings.Contains(err.Error(), "invalid_authorization_details") {
			return leftOut("the client may not ask for payment_initiation")
		}
		return err
	}
	if err := s.pay(ctx, a.Match); err != nil {
		return err
	}
	var t struct {
		IDToken string          `json:"id_token"`
		Details json.RawMessage `json:"authorization_details"`
	}
	if err := s.form(ctx, s.Backend, "/token", url.Values{"grant_type": {cibaGrant}, "auth_req_id": {a.AuthReqID}}, http.StatusOK, &t); err != nil {
		return err
	}
	if err := s.verify(ctx, t.IDToken, s.Backend.ID, ""); err != nil {
		return err
	}
	var said struct {
		Hash string `json:"mobileid_data_hash"`
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(t.IDToken, ".")[1]) // verified above
	if err == nil {
		err = json.Unmarshal(claims, &said)
	}
	asked, err1 := dataHash([]byte(payment))
	told, err2 := dataHash(t.Details)
	if err = errors.Join(err, err1, err2); err == nil && (said.Hash != asked || told != asked) {
		err = fmt.Errorf("asked for %s, told %s, and the ID token says %s", asked, told, said.Hash)
	}
	return err
}

// signed is how a signature ended, as far as the story goes on with it.
type signed struct {
	ID, State, MatchCode string
	Evidence             struct{ ID, SHA256 string }
}

// sign has the text signed on the phone.
func (s *story) sign(ctx context.Context, text string) (op signed, err error) {
	body := map[string]any{"userId": s.user, "preContext": map[string]any{"content": text}}
	if err := s.rest(ctx, "POST", "/api/v1/signatures", body, http.StatusCreated, &op); err != nil {
		return op, err
	}
	if err := s.approve(ctx, op.MatchCode); err != nil {
		return op, err
	}
	if err := s.rest(ctx, "GET", "/api/v1/signatures/"+op.ID+"?wait=10s", nil, http.StatusOK, &op); err != nil {
		return op, err
	}
	if op.State != "COMPLETED" || op.Evidence.ID == "" {
		return op, fmt.Errorf("the outcome is %+v", op)
	}
	return op, nil
}

// signature has a text signed and checks its evidence with nothing but the keys
// that anyone may read.
func (s *story) signature(ctx context.Context) error {
	const text = "I agree to the terms of the smoke."
	op, err := s.sign(ctx, text)
	if err != nil {
		return err
	}
	var proof struct{ Evidence string }
	if err := s.rest(ctx, "GET", "/api/v1/signatures/"+op.ID+"/evidence", nil, http.StatusOK, &proof); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Issuer+"/evidence/jwks", nil)
	if err != nil {
		return err
	}
	var keys json.RawMessage
	if err := s.answer(req, http.StatusOK, &keys); err != nil {
		return err
	}
	set, err := evidence.ParseKeys(keys)
	if err != nil {
		return err
	}
	said, err := evidence.Verify(proof.Evidence, set, evidence.Expect{Issuer: s.Issuer, Audience: s.Backend.ID})
	if err != nil {
		return err
	}
	if said.Txn != op.ID || said.User != s.user || said.JTI != op.Evidence.ID || evidence.Hash(proof.Evidence) != op.Evidence.SHA256 || !strings.Contains(said.Content, text) {
		return fmt.Errorf("the evidence is of %s by %s: %q", said.Txn, said.User, said.Content)
	}
	return nil
}

// remove deletes what a path names; the answer has no body.
func (s *story) remove(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.Issuer+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.api)
	res, err := s.http.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if err = errors.Join(err, res.Body.Close()); err == nil && res.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("DELETE %s: %s", path, res.Status)
	}
	return err
}
