package wire

import (
	"encoding/json"
	"errors"
	"io"
)

// ReplyLife is exp − iat of a reply in seconds. The phone does not need it to
// be fresh, since RK answers one request; a stored reply may be opened late.
const ReplyLife = 60

const (
	StatusOK  = "ok"
	StatusErr = "err"
)

// Result is what a call came to, without the envelope around it.
type Result struct {
	St   string          `json:"st"`
	Body json.RawMessage `json:"body,omitempty"`
	Err  *Error          `json:"err,omitempty"`
}

// Reply is the plaintext of a reply JWE.
type Reply struct {
	Iss  string `json:"iss"` // the server's origin
	Aud  string `json:"aud"` // iss of the request
	Iat  int64  `json:"iat"`
	Exp  int64  `json:"exp"`
	Rto  string `json:"rto"`            // jti of the request
	RH   string `json:"rh"`             // SHA-256 of the request's JWS
	Head string `json:"head,omitempty"` // the next head, if this call spent one
	Result
}

// replyHead is the whole header of a reply, byte for byte.
const replyHead = `{"alg":"dir","enc":"A256GCM","typ":"` + typResponse + `"}`

var replyHeadEncoded = Encode([]byte(replyHead))

// SealReply seals a reply under the request's RK. Body is JSON already.
func SealReply(rk []byte, r *Reply, random io.Reader) ([]byte, error) {
	if len(rk) != KeySize {
		return nil, errors.New("reply key is not 32 bytes")
	}
	plain, err := r.encode()
	if err != nil {
		return nil, err
	}
	return seal(rk, []byte(replyHead), plain, random)
}

// encode writes the members one by one: encoding/json would scan and copy the
// body again.
func (r *Reply) encode() ([]byte, error) {
	o := NewObject(384 + len(r.Body))
	o.Text("iss", r.Iss)
	o.Text("aud", r.Aud)
	o.Number("iat", r.Iat)
	o.Number("exp", r.Exp)
	o.Text("rto", r.Rto)
	o.Text("rh", r.RH)
	o.TextIf("head", r.Head)
	r.Result.write(o)
	return o.End()
}

// JSON is the result as encoding/json writes it, with the body as it is.
func (r *Result) JSON() ([]byte, error) {
	o := NewObject(64 + len(r.Body))
	r.write(o)
	return o.End()
}

func (r *Result) write(o *Object) {
	o.Text("st", r.St)
	if len(r.Body) > 0 {
		o.Raw("body", r.Body)
	}
	if r.Err != nil {
		o.Any("err", r.Err)
	}
}

// OpenReply opens the reply to sent. Success means that a holder of the
// server's key answered exactly this request. An error is never the server's
// word: the caller treats it as no reply at all.
func OpenReply(sent *Sent, body []byte) (*Reply, error) {
	p, err := splitSealed(body)
	if err != nil {
		return nil, err
	}
	if string(p.head) != replyHeadEncoded {
		h, err := parseHeader(p.head)
		if err != nil || !h.only("alg", "enc", "typ") || !h.is("alg", algDir) ||
			!h.is("enc", encGCM) || !h.is("typ", typResponse) {
			return nil, errSeal
		}
	}
	plain, err := p.open(sent.RK)
	if err != nil {
		return nil, err
	}
	var r Reply
	if err := Unmarshal(plain, &r); err != nil {
		return nil, err
	}
	if r.Iss != sent.Aud || r.Aud != sent.Iss || r.Rto != sent.JTI || r.RH != sent.RH {
		return nil, errors.New("reply to another request")
	}
	switch {
	case r.St == StatusOK && r.Err == nil && len(r.Body) > 0:
	case r.St == StatusErr && r.Err != nil && r.Err.Code != "":
	default:
		return nil, errors.New("reply without a result")
	}
	if r.Head != "" {
		if _, err := Decode32(r.Head); err != nil {
			return nil, err
		}
	}
	return &r, nil
}
