package web

import (
	"encoding/binary"

	"mobileid/internal/kv"
	"mobileid/internal/operation"
)

// login is what a browser session says about who logged in, and how.
type login struct {
	UserID      string
	DeviceID    string
	OperationID string
	SID         string
	AuthTime    int64 // Unix ms
	AMR         []string
	ACR         string
	SCA         *operation.SCA
	SeenAt      int64 // Unix ms
}

// content is a session as kv keeps it. Browser is a secret that stays when the
// session id is rotated, so that a login begun in another tab goes on.
type content struct {
	Browser string
	Login   *login // nil: nobody has logged in yet
}

// contentVersion begins a record. One that begins otherwise is of another version
// of the server, the first of which kept JSON.
const contentVersion = 1

func (l *login) texts() [5]*string {
	return [5]*string{&l.UserID, &l.DeviceID, &l.OperationID, &l.SID, &l.ACR}
}

// What stands in front of a part that may be missing.
const (
	absent = iota
	present
	presentSameIP // of the SCA, whose phone answered from the browser's address
)

// record is c as kv keeps it: it is read with every request of a browser.
func (c *content) record() []byte {
	b := kv.AppendText(append(make([]byte, 0, 256), contentVersion), c.Browser)
	l := c.Login
	if l == nil {
		return binary.AppendVarint(b, absent)
	}
	b = binary.AppendVarint(b, present)
	for _, s := range l.texts() {
		b = kv.AppendText(b, *s)
	}
	b = binary.AppendVarint(binary.AppendVarint(b, l.AuthTime), l.SeenAt)
	b = binary.AppendVarint(b, int64(len(l.AMR)))
	for _, s := range l.AMR {
		b = kv.AppendText(b, s)
	}
	switch {
	case l.SCA == nil:
		return binary.AppendVarint(b, absent)
	case l.SCA.SameIP:
		b = binary.AppendVarint(b, presentSameIP)
	default:
		b = binary.AppendVarint(b, present)
	}
	for _, s := range l.SCA.Texts() {
		b = kv.AppendText(b, *s)
	}
	return binary.AppendVarint(b, l.SCA.Epoch)
}

// readContent reads a record; kv.ErrRecord for one of another version.
func readContent(b []byte) (c content, err error) {
	if len(b) == 0 || b[0] != contentVersion {
		return c, kv.ErrRecord
	}
	f := kv.ReadFields(b[1:])
	c.Browser = f.Text()
	switch f.Number() {
	case absent:
	case present:
		c.Login = readLogin(f)
	default:
		f.Fail()
	}
	return c, f.Done()
}

func readLogin(f *kv.Fields) *login {
	l := &login{}
	for _, s := range l.texts() {
		*s = f.Text()
	}
	l.AuthTime, l.SeenAt = f.Number(), f.Number()
	for range f.Count() {
		l.AMR = append(l.AMR, f.Text())
	}
	has := f.Number()
	switch has {
	case absent:
		return l
	case present, presentSameIP:
	default:
		f.Fail()
	}
	l.SCA = &operation.SCA{SameIP: has == presentSameIP}
	for _, s := range l.SCA.Texts() {
		*s = f.Text()
	}
	l.SCA.Epoch = f.Number()
	return l
}
