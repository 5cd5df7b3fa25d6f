package provider

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"mobileid/internal/db"
	"mobileid/internal/operation"

	strict "github.com/go-jose/go-jose/v4/json" // case-sensitive, and a member stands once
)

// claimsOf are the claims that a scope gives access to (OIDC Core section 5.4),
// as far as a user's attributes of the same names hold them.
func claimsOf(scope string) []string {
	switch scope {
	case "profile":
		return []string{"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile",
			"picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"}
	case "email":
		return []string{"email", "email_verified"}
	case "address":
		return []string{"address"}
	case "phone":
		return []string{"phone_number", "phone_number_verified"}
	}
	return nil
}

// claimScopes lists the scopes of claimsOf in the order of the standard.
func claimScopes() []string { return []string{"profile", "email", "address", "phone"} }

// aboutUser reports whether a scope means something only with a user.
func aboutUser(scope string) bool {
	switch scope {
	case "openid", "profile", "email", "phone", "address", "offline_access":
		return true
	}
	return false
}

// scopeOf is the scope that gives access to a claim; "" for no claim of ours.
func scopeOf(claim string) string {
	for _, scope := range claimScopes() {
		if contains(claimsOf(scope), claim) {
			return scope
		}
	}
	return ""
}

// userClaims are the named claims as far as the attributes hold them (OIDC Core
// section 5.1): what is unknown is left out, never null.
func userClaims(attributes map[string]string, names []string) map[string]any {
	out := map[string]any{}
	for _, n := range names {
		v := attributes[n]
		switch {
		case n == "address":
			if a := addressOf(attributes); len(a) > 0 {
				out[n] = a
			}
		case v == "":
		case strings.HasSuffix(n, "_verified"):
			out[n] = v == "true"
		case n == "updated_at":
			if at, err := strconv.ParseInt(v, 10, 64); err == nil {
				out[n] = at
			}
		default:
			out[n] = v
		}
	}
	return out
}

// addressOf is the address claim (OIDC Core section 5.1.1), out of attributes
// such as address.locality; address alone is the formatted one.
func addressOf(attributes map[string]string) map[string]string {
	out := map[string]string{}
	if v := attributes["address"]; v != "" {
		out["formatted"] = v
	}
	for _, n := range []string{"formatted", "street_address", "locality", "region", "postal_code", "country"} {
		if v := attributes["address."+n]; v != "" {
			out[n] = v
		}
	}
	return out
}

// aboutClaims reads the user's claims of those names.
func (p *Provider) aboutClaims(ctx context.Context, userID string, names []string) (map[string]any, error) {
	if len(names) == 0 {
		return map[string]any{}, nil
	}
	var user db.User
	err := p.db.View(ctx, func(tx *db.Tx) (err error) {
		user, err = tx.User(userID)
		return err
	})
	if err != nil {
		return nil, unavailable(err)
	}
	return userClaims(user.Attributes, names), nil
}

// claimsRequest is the claims parameter (OIDC Core section 5.5), as far as it
// means something here.
type claimsRequest struct {
	idToken, userinfo []string // claims of the user, by name
	acr               []string // wished for, or needed if essential
	essential         bool     // the acr must be one of them
	sub               string   // nobody else may answer
}

// readClaims reads the claims parameter; wrong says what is wrong with it. Claims
// that we do not know, or whose scope the client is not registered for, are
// wishes that stay unfulfilled.
func readClaims(text string, registered []string) (out claimsRequest, wrong string) {
	if text == "" {
		return out, ""
	}
	type wish struct {
		Essential bool              `json:"essential"`
		Value     json.RawMessage   `json:"value"`
		Values    []json.RawMessage `json:"values"`
	}
	var param struct {
		Userinfo map[string]*wish `json:"userinfo"`
		IDToken  map[string]*wish `json:"id_token"`
	}
	if err := strict.Unmarshal([]byte(text), &param); err != nil {
		return out, "claims is not a JSON object of OIDC Core section 5.5"
	}
	pick := func(wishes map[string]*wish) (names []string) {
		for name := range wishes {
			if scope := scopeOf(name); scope != "" && contains(registered, scope) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	out.idToken, out.userinfo = pick(param.IDToken), pick(param.Userinfo)
	values := func(w *wish) (list []string, wrong bool) {
		if w == nil {
			return nil, false
		}
		all := w.Values
		if len(w.Value) > 0 {
			all = append(all, w.Value)
		}
		for _, raw := range all {
			var v string
			if strict.Unmarshal(raw, &v) != nil || v == "" {
				return nil, true
			}
			list = append(list, v)
		}
		return list, false
	}
	if w := param.IDToken["acr"]; w != nil {
		list, bad := values(w)
		if bad {
			return out, "the acr asked for by claims must be text"
		}
		out.acr, out.essential = list, w.Essential && len(list) > 0
	}
	for _, wishes := range []map[string]*wish{param.IDToken, param.Userinfo} {
		list, bad := values(wishes["sub"])
		if bad || len(list) > 1 || len(list) == 1 && out.sub != "" && out.sub != list[0] {
			return out, "claims may ask for one sub"
		}
		if len(list) == 1 {
			out.sub = list[0]
		}
	}
	return out, ""
}

// least is the weakest acr that meets the request: "" if any does. known is
// false if an essential one can never be reached, going by those that are served.
func (c *claimsRequest) least(served []string) (acr string, known bool) {
	acr = leastACR(strings.Join(c.acr, " "))
	return acr, !c.essential || contains(served, acr)
}

// asAsked is the acr to tell for a login that reached one: where the client
// insists on certain values, the highest of them that was reached (OIDC Core
// section 5.5.1.1); "" if none was.
func (c *claimsRequest) asAsked(reached string) string {
	if !c.essential {
		return reached
	}
	best := ""
	for _, v := range c.acr {
		if r := operation.Rank(v); r >= 0 && r <= operation.Rank(reached) && (best == "" || r > operation.Rank(best)) {
			best = v
		}
	}
	return best
}
