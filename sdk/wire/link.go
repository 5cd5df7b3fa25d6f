package wire

import (
	"errors"
	"net/url"
	"strings"
)

// Ticket is what a registration link or QR code carries.
type Ticket struct {
	Origin string // the server, scheme and host
	ID     string
	Secret Secret // 16 bytes
	Pin    string // thumbprint of SSK, base64url
}

var errLink = errors.New("not a registration link")

// Link writes the ticket as <origin>/r#u=…&t=…&s=…&k=…. Everything stands in
// the fragment, which browsers do not send and servers do not log.
func (t Ticket) Link() string {
	return t.Origin + "/r#u=" + t.Origin + "&t=" + t.ID + "&s=" + Encode(t.Secret) + "&k=" + t.Pin
}

// ParseLink reads a registration link; each of u, t, s, k stands once, and u
// must be the origin that the link itself points to.
func ParseLink(link string) (Ticket, error) {
	base, frag, ok := strings.Cut(link, "#")
	if !ok || len(link) > 1024 {
		return Ticket{}, errLink
	}
	var t Ticket
	seen := map[string]bool{}
	for part := range strings.SplitSeq(frag, "&") {
		name, raw, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(raw)
		if err != nil || seen[name] || value == "" {
			return Ticket{}, errLink
		}
		seen[name] = true
		switch name {
		case "u":
			t.Origin = value
		case "t":
			t.ID = value
		case "s":
			if t.Secret, err = Decode(value); err != nil || len(t.Secret) != SecretSize {
				return Ticket{}, errLink
			}
		case "k":
			if _, err := Decode32(value); err != nil {
				return Ticket{}, errLink
			}
			t.Pin = value
		}
	}
	if t.Origin == "" || t.ID == "" || t.Secret == nil || t.Pin == "" {
		return Ticket{}, errLink
	}
	if err := CheckOrigin(t.Origin); err != nil || base != t.Origin+"/r" {
		return Ticket{}, errLink
	}
	return t, nil
}

// CheckOrigin accepts scheme and host alone: https, or http on loopback.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return errors.New("not an origin")
	}
	switch host := u.Hostname(); {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (host == "localhost" || host == "127.0.0.1" || host == "::1"):
		return nil
	}
	return errors.New("http only on loopback")
}

// Locator brings a typed locator into its one form: 6 characters of base32,
// upper case. Spaces and hyphens are the reader's, and go.
func Locator(typed string) (string, error) {
	s := strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(typed))
	if len(s) != 6 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", errors.New("a locator has 6 letters or digits 2-7")
	}
	return s, nil
}
