package provider

import (
	"encoding/binary"
	"errors"
	"time"

	"mobileid/internal/operation"
)

// record is what a code, an access token or a family of refresh tokens stands
// for. It is stored as a version byte and fields with their lengths in front:
// a third of its size as JSON, and a tenth of the time.
type record struct {
	ClientID, MerchantID, GrantID      string
	UserID, DeviceID, OperationID, SID string // empty: client_credentials
	Scopes                             []string
	AuthTime                           int64 // Unix ms of the decision; everything withdrawn after it is void
	AMR                                []string
	IDClaims, InfoClaims               []string // asked for one by one (OIDC Core section 5.5), for ID token and userinfo
	ACR, Nonce                         string
	RedirectURI                        string // code: as it was asked for, "" if it was not
	Challenge                          string // code: S256 code_challenge
	Details                            string // authorization details, the bytes that the phone signed the hash of; "": none
	ViewHash, DataHash                 string // of the operation, if it has details
	IssuedAt, Expires                  int64  // Unix ms
	SCA                                *operation.SCA
}

// Records of version 1 end their lists before IDClaims, and those before version 3
// their texts before Details; families of refresh tokens live long enough to be
// met in them.
const recordVersion = 3

var errRecord = errors.New("provider: malformed record")

func (r *record) encode() []byte {
	b := make([]byte, 0, 320)
	b = append(b, recordVersion)
	for _, s := range r.texts() {
		b = appendText(b, *s)
	}
	for _, l := range r.lists() {
		b = binary.AppendUvarint(b, uint64(len(*l)))
		for _, s := range *l {
			b = appendText(b, s)
		}
	}
	for _, n := range r.numbers() {
		b = binary.AppendVarint(b, *n)
	}
	s := r.SCA
	if s == nil {
		return append(b, 0)
	}
	same := byte(1)
	if s.SameIP {
		same = 2
	}
	b = append(b, same)
	for _, t := range s.Texts() {
		b = appendText(b, *t)
	}
	return binary.AppendVarint(b, s.Epoch)
}

func decodeRecord(b []byte) (*record, error) {
	if len(b) == 0 || b[0] == 0 || b[0] > recordVersion {
		return nil, errRecord
	}
	d := decoder{s: string(b[1:])}
	r := &record{}
	for i, s := range r.texts() {
		if b[0] < 3 && i > 10 {
			break
		}
		*s = d.text()
	}
	for i, l := range r.lists() {
		if b[0] == 1 && i > 1 {
			break
		}
		n := d.count()
		for range n {
			*l = append(*l, d.text())
		}
	}
	for _, n := range r.numbers() {
		*n = d.number()
	}
	if has := d.octet(); has == 1 || has == 2 {
		r.SCA = &operation.SCA{SameIP: has == 2}
		for _, t := range r.SCA.Texts() {
			*t = d.text()
		}
		r.SCA.Epoch = d.number()
	} else if has != 0 {
		d.bad = true
	}
	if d.bad || d.s != "" {
		return nil, errRecord
	}
	return r, nil
}

// texts, lists and numbers name the fields in the order of the encoding.
func (r *record) texts() [14]*string {
	return [14]*string{&r.ClientID, &r.MerchantID, &r.GrantID, &r.UserID, &r.DeviceID, &r.OperationID, &r.SID,
		&r.ACR, &r.Nonce, &r.RedirectURI, &r.Challenge,
		&r.Details, &r.ViewHash, &r.DataHash}
}

func (r *record) lists() [4]*[]string {
	return [4]*[]string{&r.Scopes, &r.AMR, &r.IDClaims, &r.InfoClaims}
}

func (r *record) numbers() [3]*int64 { return [3]*int64{&r.AuthTime, &r.IssuedAt, &r.Expires} }

func (r *record) authTime() time.Time { return time.UnixMilli(r.AuthTime) }
func (r *record) expires() time.Time  { return time.UnixMilli(r.Expires) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decoder reads fields off the front of s, which the texts share.
type decoder struct {
	s   string
	bad bool
}

func (d *decoder) octet() byte {
	if d.bad || d.s == "" {
		d.bad = true
		return 0
	}
	c := d.s[0]
	d.s = d.s[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		c := d.octet()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if c == 0 && shift > 0 || shift == 63 && c > 1 {
				d.bad = true // not the shortest form
			}
			return v
		}
	}
	d.bad = true
	return 0
}

func (d *decoder) number() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count is a length that can still follow.
func (d *decoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.s)) {
		d.bad = true
		return 0
	}
	return n
}

func (d *decoder) text() string {
	n := d.count()
	if d.bad {
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}
