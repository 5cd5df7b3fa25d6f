package shop

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"mobileid/templates"
)

// registration is the API's, as far as the shop reads it.
type registration struct {
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Link      string    `json:"link"`
	Locator   string    `json:"locator"`
	Code      string    `json:"activationCode"`
	Digits    string    `json:"digits"`
	ExpiresAt time.Time `json:"expiresAt"`
	Detail    string    `json:"detail"` // of a problem
}

// call asks the REST API; body nil is a GET.
func (s *Shop) call(ctx context.Context, path string, body any) (registration, error) {
	var reg registration
	method, payload := http.MethodGet, io.Reader(nil)
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return reg, err
		}
		method, payload = http.MethodPost, bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.Issuer+"/api/v1/registrations"+path, payload)
	if err != nil {
		return reg, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.api.Do(req)
	if err != nil {
		return reg, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&reg); err != nil {
		return reg, fmt.Errorf("shop: the API answered %s: %w", res.Status, err)
	}
	if res.StatusCode >= 300 {
		return reg, fmt.Errorf("shop: the API answered %s: %s", res.Status, reg.Detail)
	}
	return reg, nil
}

// mine returns the registration that the request names, if this browser started it.
func (s *Shop) mine(v *visit, id string) *registration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.phone == nil || id != "" && id != v.phone.ID {
		return nil
	}
	return v.phone
}

func (s *Shop) phone(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	p := s.mine(v, r.URL.Query().Get("id"))
	if p == nil {
		show(w, r, templates.Demo(s.demoView(v, nil, registration{})))
		return
	}
	now, err := s.call(r.Context(), "/"+p.ID, nil)
	if err != nil {
		s.Log.WarnContext(r.Context(), "registration not read", "error", err)
	}
	show(w, r, templates.Demo(s.demoView(v, p, now)))
}

// command is how the command line's phone is called here.
func (s *Shop) command() string {
	trust := ""
	if s.CAFile != "" {
		trust = "--ca '" + s.CAFile + "' "
	}
	return "bin/mobileid phone " + trust + "--state " + s.UserName + ".json "
}

func (s *Shop) demoView(v *visit, p *registration, now registration) templates.DemoView {
	d := templates.DemoView{Page: templates.Page{Lang: "en"}, Path: "/phone", CSRF: v.csrf, UserName: s.UserName, State: templates.DemoStart,
		NextURL: s.URL + "/login?login_hint=" + url.QueryEscape(s.UserName)}
	if p == nil {
		return d
	}
	command := s.command() + "register "
	d.ID, d.Link, d.Locator, d.Code = p.ID, p.Link, p.Locator, p.Code
	d.LinkCommand = command + "'" + p.Link + "'"
	d.CodeCommand = command + "--issuer " + s.Issuer + " " + p.Locator + " " + p.Code
	switch now.State {
	case "PENDING":
		d.State = templates.DemoWaiting
	case "CLAIMED":
		d.State = templates.DemoWaiting
		if now.Digits != "" {
			d.State, d.CommitDigits, d.Device = templates.DemoCompare, now.Digits, "Command line phone"
		}
	case "COMPLETED":
		d.State = templates.DemoActive
	case "EXPIRED":
		d.State = templates.DemoExpired
	case "":
		d.State = templates.DemoUnavailable
	default:
		d.State = templates.DemoRefused
	}
	d.SecondsLeft = int(time.Until(now.ExpiresAt).Seconds())
	if qr, err := templates.QR(p.Link); err == nil {
		d.QR = qr
	}
	return d
}

// posted checks the form's token.
func (s *Shop) posted(w http.ResponseWriter, r *http.Request) (*visit, *registration, bool) {
	v := s.of(w, r)
	if r.PostFormValue("csrf") != v.csrf {
		http.Error(w, "this form is from another page; please go back and try again", http.StatusForbidden)
		return nil, nil, false
	}
	return v, s.mine(v, r.PostFormValue("id")), true
}

func (s *Shop) phoneStart(w http.ResponseWriter, r *http.Request) {
	v, _, ok := s.posted(w, r)
	if !ok {
		return
	}
	reg, err := s.call(r.Context(), "", map[string]any{"userId": s.UserID, "confirmation": "digits", "activationCode": true,
		"proofing": map[string]string{"reference": "demo-" + rand.Text(), "method": "demo"}}) // whoever sits here is who they say
	if err != nil {
		s.Log.WarnContext(r.Context(), "registration not started", "error", err)
		d := s.demoView(v, nil, registration{})
		d.State = templates.DemoUnavailable
		show(w, r, templates.Demo(d))
		return
	}
	s.mu.Lock()
	v.phone = &reg
	s.mu.Unlock()
	http.Redirect(w, r, "/phone?id="+url.QueryEscape(reg.ID), http.StatusSeeOther)
}

func (s *Shop) phoneConfirm(w http.ResponseWriter, r *http.Request) {
	s.phoneEnd(w, r, func(p *registration) error {
		// The person compared what the API says with the phone and found it equal.
		now, err := s.call(r.Context(), "/"+p.ID, nil)
		if err == nil && now.Digits != "" {
			_, err = s.call(r.Context(), "/"+p.ID+"/confirm", map[string]string{"digits": now.Digits})
		}
		return err
	})
}

func (s *Shop) phoneRefuse(w http.ResponseWriter, r *http.Request) {
	s.phoneEnd(w, r, func(p *registration) error {
		_, err := s.call(r.Context(), "/"+p.ID+"/cancel", map[string]string{})
		return err
	})
}

func (s *Shop) phoneEnd(w http.ResponseWriter, r *http.Request, end func(*registration) error) {
	_, p, ok := s.posted(w, r)
	if !ok {
		return
	}
	where := "/phone"
	if p != nil {
		if err := end(p); err != nil {
			s.Log.WarnContext(r.Context(), "registration not ended", "error", err)
		}
		where += "?id=" + url.QueryEscape(p.ID)
	}
	http.Redirect(w, r, where, http.StatusSeeOther)
}

// phoneEvents streams the page's live region: the API's long poll turned into
// server-sent events.
func (s *Shop) phoneEvents(w http.ResponseWriter, r *http.Request) {
	v := s.of(w, r)
	p := s.mine(v, r.URL.Query().Get("id"))
	if p == nil {
		http.Error(w, "no such registration", http.StatusNotFound)
		return
	}
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	now, err := s.call(r.Context(), "/"+p.ID, nil)
	for err == nil {
		d := s.demoView(v, p, now)
		var out bytes.Buffer
		if err := templates.LiveEvent(r.Context(), &out, templates.DemoLive(d)); err != nil {
			return
		}
		if err := rc.SetWriteDeadline(time.Now().Add(40 * time.Second)); err != nil {
			return
		}
		if _, err := w.Write(out.Bytes()); err != nil || rc.Flush() != nil {
			return
		}
		if d.State != templates.DemoWaiting && d.State != templates.DemoCompare {
			return
		}
		now, err = s.call(r.Context(), "/"+p.ID+"?wait=20s", nil)
	}
}
