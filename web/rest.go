package web

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"mobileid/internal/fault"
	"mobileid/internal/registration"
	"mobileid/provider"
)

// Scopes of the REST API, granted by client_credentials.
const (
	ScopeUsers   = "mobileid.users"
	ScopeDevices = "mobileid.devices"
)

const longestWait = 25 * time.Second

// merchant is the caller's merchant, if its access token has the scope.
func (s *Server) merchant(r *http.Request, scope string) (*provider.AccessToken, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return nil, fault.New(fault.Unauthorized, "an access token is required: Authorization: Bearer …")
	}
	ip := s.clientIP(r)
	if err := s.Limits.Failures.Full(ip, badToken); err != nil {
		return nil, err
	}
	at, err := s.Provider.VerifyAccessToken(r.Context(), token)
	if fault.Is(err, fault.Unauthorized) {
		if over := s.Limits.Failures.Take(r.Context(), ip, badToken); over != nil {
			return nil, over
		}
	}
	if err != nil {
		return nil, err
	}
	if err := s.Limits.Client.Take(r.Context(), ip, at.ClientID); err != nil {
		return nil, err
	}
	for _, have := range at.Scopes {
		if have == scope {
			return at, nil
		}
	}
	return nil, fault.New(fault.Forbidden, "the access token lacks the scope "+scope)
}

// read decodes a JSON object strictly: a member that is not known is named.
func read(r *http.Request, into any) error {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return fault.New(fault.Invalid, "the body must be application/json")
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return fault.Wrap(fault.Invalid, "the body cannot be read, or is larger than 64 KiB", err)
	}
	err = decode(raw, into)
	if _, named := errors.AsType[*fault.Error](err); err != nil && !named {
		return fault.Wrap(fault.Invalid, "the body is not one JSON object", err)
	}
	return err
}

func (s *Server) reply(w http.ResponseWriter, code int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	return hungUp(json.NewEncoder(w).Encode(body))
}

type userBody struct {
	ID          string            `json:"id"`
	ExternalRef string            `json:"externalRef"`
	State       string            `json:"state"`
	Attributes  map[string]string `json:"attributes"`
	CreatedAt   time.Time         `json:"createdAt"`
}

func (s *Server) createUser(w http.ResponseWriter, r *http.Request) error {
	at, err := s.merchant(r, ScopeUsers)
	if err != nil {
		return err
	}
	var in struct {
		ExternalRef string            `json:"externalRef"`
		Attributes  map[string]string `json:"attributes"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	u, err := s.Users.CreateUser(r.Context(), at.MerchantID, in.ExternalRef, in.Attributes)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/users/"+u.ID)
	return s.reply(w, http.StatusCreated, userBody{u.ID, u.ExternalRef, u.State, u.Attributes, u.CreatedAt.UTC().Truncate(time.Millisecond)})
}

// registrationBody is a registration as its merchant sees it. Link, locator and
// code are told once, in the answer to the start.
type registrationBody struct {
	ID           string `json:"id"`
	State        string `json:"state"`
	UserID       string `json:"userId,omitempty"`
	DeviceID     string `json:"deviceId,omitempty"`
	Link         string `json:"link,omitempty"`
	Locator      string `json:"locator,omitempty"`
	Code         string `json:"activationCode,omitempty"`
	Confirmation string `json:"confirmation,omitempty"`
	Digits       string `json:"digits,omitempty"`
	Reason       string `json:"reason,omitempty"`
	// Attestation is internal/attestation's Result.
	Attestation json.RawMessage `json:"attestation,omitempty"`
	ExpiresAt   *time.Time      `json:"expiresAt,omitempty"`
}

func (s *Server) startRegistration(w http.ResponseWriter, r *http.Request) error {
	at, err := s.merchant(r, ScopeDevices)
	if err != nil {
		return err
	}
	var in struct {
		UserID         string `json:"userId"`
		AppID          string `json:"appId"`
		Confirmation   string `json:"confirmation"`
		ActivationCode bool   `json:"activationCode"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if in.UserID == "" {
		return fault.InField("/userId", "required", "userId is required")
	}
	got, err := s.Registrations.Start(r.Context(), registration.Start{MerchantID: at.MerchantID, ClientID: at.ClientID,
		UserID: in.UserID, AppID: in.AppID, Confirm: in.Confirmation, Typed: in.ActivationCode})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/v1/registrations/"+got.ID)
	exp := got.ExpiresAt.UTC()
	return s.reply(w, http.StatusCreated, registrationBody{ID: got.ID, State: "PENDING", UserID: in.UserID, Link: got.Link,
		Locator: got.Locator, Code: got.Code, Confirmation: got.Confirm, ExpiresAt: &exp})
}

func (s *Server) registrationReply(w http.ResponseWriter, st registration.Status, err error) error {
	if err != nil {
		return err
	}
	body := registrationBody{ID: st.ID, State: string(st.State), UserID: st.UserID, DeviceID: st.DeviceID, Digits: st.Digits, Reason: st.Reason, Attestation: st.Attestation}
	if !st.ExpiresAt.IsZero() {
		exp := st.ExpiresAt.UTC()
		body.ExpiresAt = &exp
	}
	return s.reply(w, http.StatusOK, body)
}

// registrationStatus is held for up to ?wait= (at most 25s) until something changes.
func (s *Server) registrationStatus(w http.ResponseWriter, r *http.Request) error {
	at, err := s.merchant(r, ScopeDevices)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if text := r.URL.Query().Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait < 0 {
			return fault.InField("/wait", "invalid", "wait must be a duration such as 25s")
		}
		st, err := s.Registrations.Wait(r.Context(), at.MerchantID, id, min(wait, longestWait))
		return s.registrationReply(w, st, err)
	}
	st, err := s.Registrations.Status(r.Context(), at.MerchantID, id)
	return s.registrationReply(w, st, err)
}

func (s *Server) cancelRegistration(w http.ResponseWriter, r *http.Request) error {
	at, err := s.merchant(r, ScopeDevices)
	if err != nil {
		return err
	}
	st, err := s.Registrations.Cancel(r.Context(), at.MerchantID, r.PathValue("id"))
	return s.registrationReply(w, st, err)
}

func (s *Server) confirmRegistration(w http.ResponseWriter, r *http.Request) error {
	at, err := s.merchant(r, ScopeDevices)
	if err != nil {
		return err
	}
	var in struct {
		Digits string `json:"digits"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	st, err := s.Registrations.Confirm(r.Context(), at.MerchantID, r.PathValue("id"), strings.ReplaceAll(in.Digits, " ", ""))
	return s.registrationReply(w, st, err)
}
