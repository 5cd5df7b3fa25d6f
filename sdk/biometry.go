package sdk

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"io"
	"slices"

	"mobileid/sdk/wire"
)

// Biometry holds a registration's biometric key (DBK, ES256) and uses it without
// giving it out. The platform releases it to nobody but who is enrolled when it is
// made, asks for each use, and destroys it when the enrolment changes. A Phone
// without Biometry proves knowledge by PIN and no inherence.
type Biometry interface {
	// Create makes DBK; ref names it.
	Create() (ref string, err error)
	// Public returns the public half; it needs nobody's finger or face.
	// ErrInvalidated if the key is gone.
	Public(ref string) (*ecdsa.PublicKey, error)
	// Sign asks the user, showing prompt, and signs a SHA-256; the signature is
	// ASN.1. ErrInvalidated if the key is gone, ErrCancelled if the user would not or
	// could not.
	Sign(ref, prompt string, digest []byte) ([]byte, error)
	// Delete destroys the key; no error if it is gone.
	Delete(ref string) error
}

// BioAttester is a Biometry whose maker speaks for its keys.
type BioAttester interface {
	// AttestBio returns what the maker says of DBK for wire.BioAttestationChallenge
	// or, of App Attest, wire.BioAppAttestHash; nil if it says nothing. Where a key is
	// attested only as it is made, DBK is made anew under ref.
	AttestBio(ref, ek, jti string) (*wire.Attestation, error)
}

var (
	// ErrInvalidated means that the biometric key is gone, as after a finger or face
	// was enrolled: approve by PIN, and AddBiometry if the user wants it again.
	ErrInvalidated = errors.New("the biometric key is gone; it has to be added again, with the PIN")
	// ErrCancelled means that the user did not show finger or face.
	ErrCancelled = errors.New("the biometric prompt was cancelled")
	// ErrNoBiometry means that this phone has no biometric key.
	ErrNoBiometry = errors.New("this phone has no biometric key")
)

// released is DBK as a crypto.Signer that asks the user.
type released struct {
	bio         Biometry
	ref, prompt string
	pub         *ecdsa.PublicKey
}

func (r released) Public() crypto.PublicKey { return r.pub }

func (r released) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return r.bio.Sign(r.ref, r.prompt, digest)
}

func (p *Phone) release(ref, prompt string) (crypto.Signer, error) {
	if p.Bio == nil || ref == "" {
		return nil, ErrNoBiometry
	}
	pub, err := p.Bio.Public(ref)
	return released{p.Bio, ref, prompt, pub}, err
}

// HasBiometry reports whether ApproveBio may be tried.
func (p *Phone) HasBiometry() (bool, error) {
	st, err := p.Store.Load()
	if err != nil || p.Bio == nil || st.Bio == "" {
		return false, err
	}
	switch _, err := p.Bio.Public(st.Bio); {
	case errors.Is(err, ErrInvalidated):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// AddBiometry makes a biometric key, in place of the one before, and has the server
// take it, authorised by the PIN; the user is asked for finger or face with prompt. A
// wrong PIN counts as in any answer. What was said of ChangePIN about a lost reply
// holds here too.
func (p *Phone) AddBiometry(ctx context.Context, pin, prompt string) error {
	if p.Bio == nil {
		return ErrNoBiometry
	}
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return err
	}
	defer unlock()
	if done, err := p.pending(ctx, st, wire.OpBioAdd); done || err != nil {
		return err
	}
	said, err := p.statement(ctx)
	if err != nil {
		return err
	}
	was, err := p.knowledge(st, pin)
	if err != nil {
		return err
	}
	dsk, err := p.thumbprint(st)
	if err != nil {
		return err
	}
	if err := p.discard(st); err != nil {
		return err
	}
	ref, err := p.Bio.Create()
	if err != nil {
		return err
	}
	res, err := p.do(ctx, st, intent{op: wire.OpBioAdd, body: func(jti, ek string) (any, error) {
		body := wire.BioAdd{Risk: said}
		if a, ok := p.Bio.(BioAttester); ok {
			if body.Att, err = a.AttestBio(ref, ek, jti); err != nil {
				return nil, err
			}
		}
		key, err := p.release(ref, prompt)
		if err != nil {
			return nil, err
		}
		if body.New, err = wire.SignBioKey(key, wire.BioKeyClaims{Iss: st.Device, DSK: wire.Encode(dsk[:]), JTI: jti}); err != nil {
			return nil, err
		}
		bytes, err := body.Unproven()
		if err != nil {
			return nil, err
		}
		st.Next = &Wrap{Bio: ref}
		kpf := wire.CallProof(was, wire.OpBioAdd, bytes, jti, st.Head)
		body.KPF = kpf[:]
		return body, nil
	}})
	if st.Next == nil && st.Bio != ref { // never sent, or refused
		err = errors.Join(err, p.Bio.Delete(ref))
	}
	return into(res, err, &wire.Changed{})
}

// RemoveBiometry gives the biometric key up, here and at the server.
func (p *Phone) RemoveBiometry(ctx context.Context) error {
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return err
	}
	defer unlock()
	if done, err := p.pending(ctx, st, wire.OpBioRemove); done || err != nil {
		return err
	}
	res, err := p.do(ctx, st, plain(wire.OpBioRemove, wire.BioRemove{}))
	return into(res, err, &wire.Changed{})
}

// ApproveBio is Approve with finger or face instead of the PIN; the user is asked
// with prompt, which should say what for. A *wire.Error need, made here or by the
// server, lists what the operation takes instead.
func (p *Phone) ApproveBio(ctx context.Context, op *wire.Operation, prompt, match string) (*wire.AnswerReply, error) {
	return p.approve(ctx, op, match, func(st *State, ans string, body *wire.Answer) error {
		if !slices.Contains(op.Need, wire.FactorBio) {
			return &wire.Error{Code: wire.Need, Need: op.Need}
		}
		key, err := p.release(st.Bio, prompt)
		if err != nil {
			return err
		}
		body.BSig, err = wire.SignBio(key, wire.AnswerHash(ans))
		return err
	})
}
