package provider

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/operation"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
)

// strategy makes codes and tokens.
type strategy struct {
	p *Provider
}

var _ interface {
	oauth2.CoreStrategy
	openid.OpenIDConnectTokenStrategy
} = strategy{}

// Access tokens and codes are 256 random bits; stores know their SHA-256. A JWT
// access token has no hash: it is not stored.

func (s strategy) GenerateAccessToken(ctx context.Context, req fosite.Requester) (token, hash string, err error) {
	if unitOf(ctx).client.Settings.TokenFormat == formatJWT {
		token, err = s.p.accessJWT(ctx, req)
		return token, "", err
	}
	token = randomToken()
	return token, digest(token), nil
}

func (strategy) AccessTokenSignature(_ context.Context, token string) string { return digest(token) }

func (strategy) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return errNotUsed
}

func (strategy) GenerateAuthorizeCode(context.Context, fosite.Requester) (code, hash string, err error) {
	code = randomToken()
	return code, digest(code), nil
}

func (strategy) AuthorizeCodeSignature(_ context.Context, code string) string { return digest(code) }

// ValidateAuthorizeCode has nothing to add: storage looked the code up by its
// hash and checked its time by our clock.
func (strategy) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error { return nil }

// GenerateRefreshToken makes the first token of a new family, or the successor
// of the one in use, which is the same however often it is asked for. fosite
// stores a refresh token only if its signature is not empty.
func (s strategy) GenerateRefreshToken(ctx context.Context, _ fosite.Requester) (token, hash string, err error) {
	u := unitOf(ctx)
	if u.rotate != nil {
		return s.p.refreshToken(u.rotate.family.ID, u.rotate.generation+1), "next", nil
	}
	u.familyID = db.NewSerialID("fam_")
	return s.p.refreshToken(u.familyID, 1), "first", nil
}

func (strategy) RefreshTokenSignature(context.Context, string) string { return "" }

func (strategy) ValidateRefreshToken(context.Context, fosite.Requester, string) error { return nil }

// refreshToken is family, generation and a MAC over both, by a key that no
// database holds. It can be made again, so nothing needs to be kept of it.
func (p *Provider) refreshToken(family string, generation int64) string {
	text := strings.TrimPrefix(family, "fam_") + "." + strconv.FormatInt(generation, 36)
	mac := hmac.New(sha256.New, p.refreshKey)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// readRefreshToken returns the family and generation of a token that this
// server made, byte for byte.
func (p *Provider) readRefreshToken(token string) (family string, generation int64, ok bool) {
	id, rest, _ := strings.Cut(token, ".")
	gen, _, _ := strings.Cut(rest, ".")
	generation, err := strconv.ParseInt(gen, 36, 64)
	if err != nil || generation < 1 {
		return "", 0, false
	}
	family = "fam_" + id
	return family, generation, hmac.Equal([]byte(p.refreshToken(family, generation)), []byte(token))
}

// idToken is the payload of an ID token (OIDC Core section 2). What was not
// proven is left out.
type idToken struct {
	Issuer   string         `json:"iss"`
	Subject  string         `json:"sub"`
	Audience string         `json:"aud"`
	Expires  int64          `json:"exp"`
	IssuedAt int64          `json:"iat"`
	AuthTime int64          `json:"auth_time"`
	Nonce    string         `json:"nonce,omitempty"`
	ACR      string         `json:"acr,omitempty"`
	AMR      []string       `json:"amr,omitempty"`
	SID      string         `json:"sid,omitempty"`
	Txn      string         `json:"txn,omitempty"` // RFC 8417: the operation
	SCA      *operation.SCA `json:"sca,omitempty"`
	ViewHash string         `json:"mobileid_view_hash,omitempty"` // with authorization details: of what the phone showed
	DataHash string         `json:"mobileid_data_hash,omitempty"` // and of the details themselves
	ATHash   string         `json:"at_hash,omitempty"`

	Evidence *operation.EvidenceRef `json:"mobileid_evidence,omitempty"` // of a signature
}

// GenerateIDToken signs an ID token for the session. fosite's own strategy
// would check prompt and max_age against the machine's clock and put an acr of
// "0" where none was reached; both are settled before a code exists.
func (s strategy) GenerateIDToken(ctx context.Context, life time.Duration, req fosite.Requester) (string, error) {
	sess := req.GetSession().(*session)
	now := s.p.clk.Now().Unix()
	signed, err := s.p.evidenceRef(ctx, &sess.record)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(idToken{
		Issuer: s.p.issuer, Subject: sess.UserID, Audience: req.GetClient().GetID(),
		Expires: now + int64(life/time.Second), IssuedAt: now, AuthTime: sess.AuthTime / 1000,
		Nonce: sess.Nonce, ACR: sess.ACR, AMR: sess.AMR, SID: sess.SID, Txn: sess.OperationID, SCA: sess.SCA,
		ViewHash: sess.ViewHash, DataHash: sess.DataHash, Evidence: signed,
		ATHash: sess.claims.AccessTokenHash,
	})
	if err != nil {
		return "", err
	}
	if len(sess.IDClaims) > 0 {
		claims, err := s.p.aboutClaims(ctx, sess.UserID, sess.IDClaims)
		if err != nil {
			return "", err
		}
		if payload, err = join(payload, claims); err != nil {
			return "", err
		}
	}
	return s.p.sign(ctx, algOf(&unitOf(ctx).client.Settings), typIDToken, payload)
}

// join adds members to a JSON object that has none of them.
func join(object []byte, members map[string]any) ([]byte, error) {
	if len(members) == 0 {
		return object, nil
	}
	more, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	object[len(object)-1] = ','
	return append(object, more[1:]...), nil
}
