package provider

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// link finds what a phone or a person may take for an address to open: a
// scheme, www., a host with a path, or a bare host under a common top level.
var link = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://|\bwww\.|\b(mailto|javascript|data|tel|sms):\S|\b[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}(:\d+)?/|\b[a-z0-9-]+\.(com|net|org|info|biz|io|co|app|dev|me|xyz|top|link|site|online|page|shop)\b`)

// checkBindingMessage says what is wrong with a message that the user will see
// verbatim and sign: it must be one line of visible text that cannot change how
// the rest of the screen reads, nor lead anywhere. most is in runes.
func checkBindingMessage(s string, most int) string {
	if !utf8.ValidString(s) {
		return "must be UTF-8"
	}
	if utf8.RuneCountInString(s) > most {
		return fmt.Sprintf("may have %d characters at most", most)
	}
	for _, r := range s {
		switch {
		case r == '<' || r == '>':
			return "may not hold < or >"
		case r == ' ':
		case !unicode.IsPrint(r): // also bidi controls, joiners, line separators, private use
			return "may not hold control, direction or other invisible characters"
		}
	}
	// Each of its forms holds one of these, and most messages hold neither.
	if strings.ContainsAny(s, ".:") && link.MatchString(s) {
		return "may not hold an address to open"
	}
	return ""
}
