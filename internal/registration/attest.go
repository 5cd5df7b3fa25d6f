package registration

import (
	"context"
	"encoding/json"

	"mobileid/internal/attestation"
	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk/wire"
)

// attested verifies what the phone's maker says of its key, before the
// transaction. Where the App's policy does not ask, it does not look.
func (r *Registrations) attested(ctx context.Context, c *channel.Call, t *ticket, body *wire.RegBegin) (attestation.Result, error) {
	none := attestation.Result{Level: attestation.None}
	if body.Att == nil {
		return none, nil
	}
	var policy identity.Policy
	err := r.DB.View(ctx, func(tx *db.Tx) error {
		app, err := tx.App(t.AppID)
		if err != nil {
			return err
		}
		policy, err = identity.PolicyOf(app)
		return err
	})
	if err != nil || policy.Attestation == identity.AttestationOff {
		return none, err
	}
	thumb, err := thumb32(c.KeyID)
	if err != nil {
		return none, err
	}
	want, err := policy.Expect(r.Clock.Now())
	if err != nil {
		return none, err
	}
	want.Key, want.Challenge = c.Key, wire.AttestationChallenge(c.EK, body.Ticket+body.Locator)
	if body.Att.Fmt == wire.AttAppAttest {
		want.Challenge = wire.AppAttestHash(c.EK, body.Ticket+body.Locator, thumb)
	}
	return r.Attest.Verify(attestation.Of(body.Att), want), nil
}

// lacking is why the policy refuses a phone with that attestation; "" if it does not.
func lacking(policy identity.Policy, att attestation.Result) string {
	if policy.Attestation != identity.AttestationRequired {
		return ""
	}
	return att.Lacking()
}

// possession is sca's pos of a device whose key was attested so.
func possession(level attestation.Level) string {
	switch level {
	case attestation.Hardware:
		return "hwk-att"
	case attestation.Build:
		return "hwk"
	}
	return "swk"
}

func record(att attestation.Result) (string, error) {
	text, err := json.Marshal(att)
	return string(text), err
}
