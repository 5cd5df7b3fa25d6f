package templates

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"
)

// plain makes foreign words fit to stand in a line of ours: no control
// characters, no marks that turn the direction of the text around them, and not
// longer than a line or two. Escaping is templ's part.
func plain(s string) string {
	const most = 160
	var b strings.Builder
	n := 0
	for _, r := range s {
		if r == utf8.RuneError || unicode.IsControl(r) || turns(r) {
			continue
		}
		if n++; n > most {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

// turns reports whether r is invisible and changes direction or line: the marks,
// embeddings, overrides and isolates of UAX #9, and the separators.
func turns(r rune) bool {
	switch {
	case r == 0x061C, r == 0x200E, r == 0x200F, r == 0xFEFF,
		r >= 0x2028 && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// initial is the letter that stands for a name without a logo.
func initial(name string) string {
	for _, r := range plain(name) {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "•"
}

// localPath lets an address through that stays on this origin: it starts with
// one slash and holds nothing that a browser would read as another host.
func localPath(s string) templ.SafeURL {
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || odd(s) {
		return ""
	}
	return templ.SafeURL(s)
}

// webURL lets an absolute http or https address through.
func webURL(s string) templ.SafeURL {
	u, err := url.Parse(s)
	if err != nil || odd(s) || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return templ.SafeURL(s)
}

// odd reports characters that browsers drop from addresses or read as a slash.
func odd(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return r == '\\' || r <= ' ' || unicode.IsControl(r)
	})
}

// browser says in this language what flows says of a browser in English.
func (x *interactionTexts) browser(name string) string {
	name = plain(name)
	program, system, found := strings.Cut(name, " on ")
	switch {
	case name == "an unknown browser":
		return x.unknownBrowser
	case !found:
		return name
	case program == "a browser":
		program = x.someBrowser
	}
	return program + " " + x.on + " " + system
}

// under is a path below the interaction's own.
func (v InteractionView) under(rest string) templ.SafeURL {
	return templ.SafeURL("/i/" + url.PathEscape(v.ID) + rest)
}

// key changes when the live region has something new to say, so that a browser
// can tell news from a repetition.
func (v InteractionView) key() string {
	return string(v.State) + "|" + v.MatchCode + "|" + strconv.FormatInt(v.ExpiresAt.Unix(), 36)
}

func (v DemoView) key() string {
	return string(v.State) + "|" + v.ID + "|" + v.CommitDigits
}

// at is an address of the demo page with its registration.
func (v DemoView) at(rest string) templ.SafeURL {
	p := localPath(v.Path)
	if p == "" {
		p = "/"
	}
	if v.ID == "" || rest != "" && rest != "/events" {
		return p + templ.SafeURL(rest)
	}
	return p + templ.SafeURL(rest+"?id="+url.QueryEscape(v.ID))
}

// minutes shows seconds as 2:05.
func minutes(seconds int) string {
	s := strconv.Itoa(seconds % 60)
	if len(s) == 1 {
		s = "0" + s
	}
	return strconv.Itoa(seconds/60) + ":" + s
}

// seconds is the attribute that starts a countdown; empty starts none.
func seconds(left int) string {
	if left <= 0 {
		return ""
	}
	return strconv.Itoa(left)
}

// clock shows a time of day; scripts turn it into the reader's own zone.
func clock(t time.Time) string { return t.UTC().Format("15:04") + " UTC" }

func clockSeconds(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// grouped parts digits so that two people can compare them: 1234 5678.
func grouped(digits string) string {
	if len(digits) != 8 {
		return digits
	}
	return digits[:4] + " " + digits[4:]
}
