package web

import (
	"context"
	"errors"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/risk"
	"mobileid/web/api"
)

// errNoVersion is the cause of refusing a change that does not say what it changes
// (RFC 6585 section 3).
var errNoVersion = errors.New("no If-Match")

func seconds64(d time.Duration) int { return int(d / time.Second) }

func findingsOf(list []string) (out []api.AppSettingsBlockFindings) {
	for _, f := range list {
		out = append(out, api.AppSettingsBlockFindings(f))
	}
	return out
}

// settingsOf are a policy in the words of the API.
func settingsOf(p identity.Policy) api.AppSettings {
	return api.AppSettings{Kind: api.AppSettingsKind(p.Kind), PinMin: p.PINMin, PinMax: p.PINMax, FailureLimit: int(p.FailureLimit), BlockFor: seconds64(p.BlockFor),
		LockScope: api.AppSettingsLockScope(p.LockScope), CodeLength: p.CodeLength, CodeAlphabet: p.CodeAlphabet, RegistrationLifetime: seconds64(p.RegistrationTTL),
		Confirmation: api.ConfirmationMode(p.Confirm), Attestation: api.AppSettingsAttestation(p.Attestation), SessionIdle: seconds64(p.SessionIdle), Language: p.Language, Psd2: p.PSD2,
		AndroidPackages: p.AndroidPackages, AndroidSigners: p.AndroidSigners, AppleApps: p.AppleApps, AllowedMethods: methodsOf(p.Methods), Push: api.AppSettingsPush(p.Push),
		Risk: api.AppSettingsRisk(p.Risk.Mode), BlockFindings: findingsOf(p.Risk.BlockFindings), AllowCountries: p.Risk.AllowCountries, DenyCountries: p.Risk.DenyCountries}
}

// policyOf are settings as they are stored. What the API cannot set stays as it is
// in p.
func policyOf(p identity.Policy, s api.AppSettings) identity.Policy {
	p.Kind, p.PINMin, p.PINMax, p.FailureLimit, p.BlockFor = string(s.Kind), s.PinMin, s.PinMax, int64(s.FailureLimit), time.Duration(s.BlockFor)*time.Second
	p.LockScope, p.CodeLength, p.CodeAlphabet, p.RegistrationTTL = string(s.LockScope), s.CodeLength, s.CodeAlphabet, time.Duration(s.RegistrationLifetime)*time.Second
	p.Confirm, p.Attestation, p.SessionIdle, p.PSD2 = string(s.Confirmation), string(s.Attestation), time.Duration(s.SessionIdle)*time.Second, s.Psd2
	p.Language, p.AndroidPackages, p.AndroidSigners, p.AppleApps = s.Language, s.AndroidPackages, s.AndroidSigners, s.AppleApps
	p.Risk = risk.Rules{Mode: string(s.Risk), AllowCountries: s.AllowCountries, DenyCountries: s.DenyCountries}
	for _, f := range s.BlockFindings {
		p.Risk.BlockFindings = append(p.Risk.BlockFindings, string(f))
	}
	p.Methods, p.Push = nil, string(s.Push)
	for _, m := range s.AllowedMethods {
		p.Methods = append(p.Methods, string(m))
	}
	return p
}

func methodsOf(names []string) []api.AuthMethod {
	out := []api.AuthMethod{}
	for _, n := range names {
		out = append(out, api.AuthMethod(n))
	}
	return out
}

func appBody(a db.App) (api.App, error) {
	p, err := identity.PolicyOf(a)
	return api.App{ID: a.ID, Name: a.Name, Settings: settingsOf(p), Trusted: p.Trusted, CreatedAt: wireTime(a.CreatedAt), Version: int(a.Version)}, err
}

func appFound(a db.App, err error) (api.AppFoundJSONResponse, error) {
	if err != nil {
		return api.AppFoundJSONResponse{}, err
	}
	body, err := appBody(a)
	return api.AppFoundJSONResponse{Body: body, Headers: api.AppFoundResponseHeaders{ETag: etag(a.Version)}}, err
}

func (s *rest1) CreateApp(ctx context.Context, r api.CreateAppRequestObject) (api.CreateAppResponseObject, error) {
	at := callerOf(ctx)
	a, err := s.Users.AddApp(ctx, at.MerchantID, at.newID, r.Body.Name, policyOf(identity.Policy{}, r.Body.Settings))
	if err != nil {
		return nil, err
	}
	body, err := appBody(a)
	return api.CreateApp201JSONResponse{Body: body, Headers: api.CreateApp201ResponseHeaders{ETag: etag(a.Version), Location: apiBase + "/apps/" + a.ID}}, err
}

func (s *rest1) ListApps(ctx context.Context, _ api.ListAppsRequestObject) (api.ListAppsResponseObject, error) {
	out := api.ListApps200JSONResponse{Items: []api.App{}}
	err := s.DB.View(ctx, func(tx *db.Tx) error {
		all, err := tx.AppsOf(callerOf(ctx).MerchantID)
		for _, a := range all {
			body, perr := appBody(a)
			out.Items, err = append(out.Items, body), errors.Join(err, perr)
		}
		return err
	})
	return out, err
}

func (s *rest1) GetApp(ctx context.Context, r api.GetAppRequestObject) (api.GetAppResponseObject, error) {
	out, err := appFound(s.Users.App(ctx, callerOf(ctx).MerchantID, r.ID))
	return api.GetApp200JSONResponse{AppFoundJSONResponse: out}, err
}

func (s *rest1) UpdateApp(ctx context.Context, r api.UpdateAppRequestObject) (api.UpdateAppResponseObject, error) {
	at := callerOf(ctx)
	if _, err := s.Users.App(ctx, at.MerchantID, r.ID); err != nil {
		return nil, err
	}
	version, err := versionOf(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, fault.Wrap(fault.VersionConflict, "If-Match with the ETag that was read is required", errNoVersion)
	}
	out, err := appFound(s.Users.ChangeApp(ctx, at.MerchantID, r.ID, version, func(name *string, p *identity.Policy) error {
		next, err := edited(s.contract.schema("AppEdit"), api.AppEdit{Name: *name, Settings: settingsOf(*p)}, at.patch)
		if err != nil {
			return err
		}
		*name, *p = next.Name, policyOf(*p, next.Settings)
		return nil
	}))
	return api.UpdateApp200JSONResponse{AppFoundJSONResponse: out}, err
}
