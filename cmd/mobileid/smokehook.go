package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// hookWait is how long a webhook may take: nodes look every quarter of a second.
const hookWait = 10 * time.Second

// webhook listens on this machine, has the server tell it of a signature, and checks
// the message as a merchant does.
func (s *story) webhook(ctx context.Context) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	type message struct {
		header http.Header
		body   []byte
	}
	got := make(chan message, 1)
	receiver := &http.Server{ReadHeaderTimeout: hookWait, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		select {
		case got <- message{r.Header, body}:
		default: // told again
		}
	})}
	served := make(chan error, 1)
	go func() { served <- receiver.Serve(ln) }()
	told := func() error {
		var hook struct{ ID, Secret string }
		body := map[string]any{"url": "http://" + ln.Addr().String() + "/hooks", "events": []string{"signature.finished"}}
		if err := s.rest(ctx, "POST", "/api/v1/webhooks", body, http.StatusCreated, &hook); err != nil {
			if strings.Contains(err.Error(), `"/url"`) {
				return leftOut("the server may not call 127.0.0.1: egress.allow does not name it")
			}
			if s.Shop.ID == "" && strings.Contains(err.Error(), `"forbidden"`) {
				return leftOut("the client has no scope mobileid.admin")
			}
			return err
		}
		err := func() error {
			op, err := s.sign(ctx, "Tell me of this.")
			if err != nil {
				return err
			}
			select {
			case m := <-got:
				return checkHook(m.header, m.body, hook.Secret, op.ID)
			case <-time.After(hookWait):
				return fmt.Errorf("nothing came within %s", hookWait)
			case <-ctx.Done():
				return ctx.Err()
			}
		}()
		return errors.Join(err, s.remove(ctx, "/api/v1/webhooks/"+hook.ID))
	}()
	closed := receiver.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		closed = errors.Join(closed, err)
	}
	return errors.Join(told, closed)
}

// checkHook holds a message to its secret (Standard Webhooks) and to what it should
// tell.
func checkHook(header http.Header, body []byte, secret, operation string) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(header.Get("Webhook-Id") + "." + header.Get("Webhook-Timestamp") + "."))
	mac.Write(body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); !hmac.Equal([]byte(want), []byte(header.Get("Webhook-Signature"))) {
		return errors.New("the message is not signed with the secret")
	}
	var e struct {
		ID, Type string
		Data     struct{ OperationID, State string }
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return err
	}
	if e.ID != header.Get("Webhook-Id") || e.Type != "signature.finished" || e.Data.OperationID != operation || e.Data.State != "COMPLETED" {
		return fmt.Errorf("the message says %s", body)
	}
	return nil
}
