package wire

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
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
	b := make([]byte, 0, 384+len(r.Body))
	b = appendText(append(b, `{"iss":`...), r.Iss)
	b = appendText(append(b, `,"aud":`...), r.Aud)
	b = strconv.AppendInt(append(b, `,"iat":`...), r.Iat, 10)
	b = strconv.AppendInt(append(b, `,"exp":`...), r.Exp, 10)
	b = appendText(append(b, `,"rto":`...), r.Rto)
	b = appendText(append(b, `,"rh":`...), r.RH)
	if r.Head != "" {
		b = appendText(append(b, `,"head":`...), r.Head)
	}
	return r.Result.appendTo(append(b, ','))
}

// JSON is the result as encoding/json writes it, with the body as it is.
func (r *Result) JSON() ([]byte, error) {
	return r.appendTo(append(make([]byte, 0, 64+len(r.Body)), '{'))
}

// appendTo appends the members and the end of the object.
func (r *Result) appendTo(b []byte) ([]byte, error) {
	b = appendText(append(b, `"st":`...), r.St)
	if r.Err != nil {
		told, err := json.Marshal(r.Err)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"err":`...), told...)
	}
	if r.Body != nil {
		b = append(append(b, `,"body":`...), r.Body...)
	}
	return append(b, '}'), nil
}

// appendText writes s as encoding/json does.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20, c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string is always JSON
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
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
