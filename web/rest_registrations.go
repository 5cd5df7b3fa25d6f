package web

import (
	"context"
	"strings"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/fault"
	"mobileid/internal/registration"
	"mobileid/internal/risk"
	"mobileid/web/api"
)

const longestWait = 25 * time.Second

// waitOf is how long an answer may be held.
func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0, fault.InField("/wait", "invalid", "wait must be a duration such as 25s")
	}
	return min(wait, longestWait), nil
}

func (s *rest1) StartRegistration(ctx context.Context, r api.StartRegistrationRequestObject) (api.StartRegistrationResponseObject, error) {
	at, in := callerOf(ctx), r.Body
	got, err := s.Registrations.Start(ctx, registration.Start{MerchantID: at.MerchantID, ClientID: at.ClientID, ID: at.newID,
		UserID: in.UserID, AppID: in.AppID, Confirm: string(in.Confirmation), Typed: in.ActivationCode,
		ApprovedBy: in.ApprovedBy, Proofing: proofingOf(in.Proofing)})
	if err != nil {
		return nil, err
	}
	return api.StartRegistration201JSONResponse{
		Headers: api.StartRegistration201ResponseHeaders{Location: apiBase + "/registrations/" + got.ID},
		Body: api.Registration{ID: got.ID, State: api.OperationStatePENDING, UserID: in.UserID, Link: got.Link, Locator: got.Locator, ActivationCode: got.Code,
			Confirmation: api.ConfirmationMode(got.Confirm), ExpiresAt: got.ExpiresAt.UTC()},
	}, nil
}

// registrationFound is a registration as its merchant sees it. Link, locator and
// code are told once, in the answer to the start.
func registrationFound(st registration.Status) api.RegistrationFoundJSONResponse {
	return api.RegistrationFoundJSONResponse{ID: st.ID, State: api.OperationState(st.State), UserID: st.UserID, DeviceID: st.DeviceID, Digits: st.Digits,
		Reason: st.Reason, ExpiresAt: st.ExpiresAt.UTC(), Attestation: attestationOf(st.Attestation), Risk: riskOf(st.Risk)}
}

func riskOf(res *risk.Result) api.Risk {
	if res == nil {
		return api.Risk{}
	}
	out := api.Risk{Verdict: api.RiskVerdict(res.Verdict), Check: api.RiskCheck(res.Check), Detail: res.Detail, Platform: res.Platform, OsVersion: res.OSVersion,
		AppVersion: res.AppVersion, Model: res.Model, Findings: res.Findings, Country: res.Country, CountrySource: res.CountrySource}
	if res.At != nil {
		out.At = wireTime(*res.At)
	}
	return out
}

func attestationOf(res *attestation.Result) api.Attestation {
	if res == nil {
		return api.Attestation{}
	}
	return api.Attestation{Level: api.AttestationLevel(res.Level), Format: res.Format, Keeper: res.Keeper, App: res.App, Check: res.Check, Detail: res.Detail}
}

// GetRegistration is held for up to ?wait= (at most 25s) until something changes.
func (s *rest1) GetRegistration(ctx context.Context, r api.GetRegistrationRequestObject) (api.GetRegistrationResponseObject, error) {
	wait, err := waitOf(r.Params.Wait)
	if err != nil {
		return nil, err
	}
	var st registration.Status
	if merchant := callerOf(ctx).MerchantID; wait > 0 {
		st, err = s.Registrations.Wait(ctx, merchant, r.ID, wait)
	} else {
		st, err = s.Registrations.Status(ctx, merchant, r.ID)
	}
	return api.GetRegistration200JSONResponse{RegistrationFoundJSONResponse: registrationFound(st)}, err
}

func (s *rest1) CancelRegistration(ctx context.Context, r api.CancelRegistrationRequestObject) (api.CancelRegistrationResponseObject, error) {
	st, err := s.Registrations.Cancel(ctx, callerOf(ctx).MerchantID, r.ID)
	return api.CancelRegistration200JSONResponse{RegistrationFoundJSONResponse: registrationFound(st)}, err
}

func (s *rest1) ConfirmRegistration(ctx context.Context, r api.ConfirmRegistrationRequestObject) (api.ConfirmRegistrationResponseObject, error) {
	st, err := s.Registrations.Confirm(ctx, callerOf(ctx).MerchantID, r.ID, strings.ReplaceAll(r.Body.Digits, " ", ""))
	return api.ConfirmRegistration200JSONResponse{RegistrationFoundJSONResponse: registrationFound(st)}, err
}
