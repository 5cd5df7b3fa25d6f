package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"mobileid/internal/db"
)

const (
	logoutTokenLife = 2 * time.Minute
	// logoutTries is when a client is given up that never answers: after about
	// three days, at ten minutes between the later ones.
	logoutTries = 440
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// logoutItem is what the outbox keeps of a logout that a client is to be told.
type logoutItem struct {
	Client string `json:"client"`
	User   string `json:"user"`
	SID    string `json:"sid"`
}

// logoutToken is the payload of a logout token (OpenID Connect Back-Channel
// Logout section 2.4). It has no nonce, so that it cannot be an ID token.
type logoutToken struct {
	Issuer   string              `json:"iss"`
	Subject  string              `json:"sub"`
	Audience string              `json:"aud"`
	IssuedAt int64               `json:"iat"`
	Expires  int64               `json:"exp"`
	JTI      string              `json:"jti"`
	SID      string              `json:"sid"`
	Events   map[string]struct{} `json:"events"`
}

// DeliverLogout tells a client that a login has ended, for the outbox: an error
// has it tried again. The jti is the same at every try, so that a client that
// was told before knows it.
func (p *Provider) DeliverLogout(ctx context.Context, it db.OutboxItem) error {
	var item logoutItem
	if err := json.Unmarshal([]byte(it.Payload), &item); err != nil {
		return err
	}
	c, err := p.client(ctx, item.Client)
	if err != nil {
		return err
	}
	if c == nil || !c.DisabledAt.IsZero() || c.Settings.BackchannelLogoutURI == "" {
		return nil // it does not want to know any more
	}
	now := p.clk.Now()
	payload, err := json.Marshal(logoutToken{Issuer: p.issuer, Subject: item.User, Audience: item.Client, IssuedAt: now.Unix(), Expires: now.Add(logoutTokenLife).Unix(),
		JTI: it.ID, SID: item.SID, Events: map[string]struct{}{logoutEvent: {}}})
	if err != nil {
		return err
	}
	token, err := p.sign(ctx, algOf(&c.Settings), typLogoutToken, payload)
	if err != nil {
		return err
	}
	body := url.Values{"logout_token": {token}}.Encode()
	status, _, err := p.egress.Post(ctx, c.Settings.BackchannelLogoutURI, "application/x-www-form-urlencoded", []byte(body))
	switch {
	case err == nil && status >= 200 && status < 300:
		return nil
	case err == nil && final(status):
		p.log.WarnContext(ctx, "a client refused a logout token", "client", item.Client, "status", status)
		return nil
	case err == nil:
		err = fmt.Errorf("the client answered %d", status)
	}
	if it.Attempts >= logoutTries {
		p.log.WarnContext(ctx, "a client could not be told of a logout and is given up", "client", item.Client, "error", err)
		return nil
	}
	return errors.Join(errors.New("provider: back-channel logout"), err)
}

// final reports whether the same request would be answered the same again.
func final(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 300 && status < 500
}

func marshalText(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
