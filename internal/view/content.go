// Package view makes what a phone shows before and after an operation: the block
// list of mid/1, out of a merchant's own words and of templates for typed data.
//
// What is made here is what the user reads and signs, so nothing is passed on
// that could show as something else than it is: everything that is not understood
// is refused, and never dropped or mended.
package view

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"mobileid/internal/fault"
	"mobileid/sdk/wire"
)

// Content types of a merchant's words.
const (
	PlainText = "text/plain"
	Markdown  = "text/markdown"
)

// Longest contents in bytes: of an authentication, of a signature, and of what is
// shown after the answer.
const (
	MaxContent   = 16 << 10
	MaxSignature = 32 << 10
	MaxPost      = 2 << 10
)

// Content is text in a merchant's words. It is shown as it is, in whatever
// language it is in.
type Content struct {
	Text string
	Type string // PlainText, which "" means too, or Markdown
}

// Blocks renders the content, of most bytes at most. A fault names the member:
// pointer with /content or /contentType behind it.
//
// Of plain text each line that is not empty is a paragraph. The Markdown is a small
// subset: "# " a heading (up to three), a line between ** is bold, "- " or "* "
// an item, "| label | value |" a row, lines without a blank one between them a
// paragraph. Links, images, HTML, entities, code, quotes and everything else that
// Markdown would show differently than it reads is refused.
func (c Content) Blocks(pointer string, most int) ([]wire.Block, error) {
	bad := func(format string, args ...any) error {
		return fault.InField(pointer+"/content", "invalid", strings.TrimPrefix(pointer, "/")+"/content "+fmt.Sprintf(format, args...))
	}
	switch {
	case len(c.Text) > most:
		return nil, bad("may have %d bytes at most", most)
	case !utf8.ValidString(c.Text):
		return nil, bad("must be UTF-8")
	}
	lines := strings.Split(strings.ReplaceAll(c.Text, "\r\n", "\n"), "\n")
	for i, line := range lines {
		if line = strings.Trim(line, " "); line != "" {
			if err := wire.CheckText(line); err != nil {
				return nil, bad("cannot be shown: line %d: %v", i+1, err)
			}
		}
	}
	var r renderer
	switch c.Type {
	case PlainText, "":
		for _, line := range lines {
			r.add(wire.Paragraph, strings.Trim(line, " "))
		}
	case Markdown:
		for i, line := range lines {
			if wrong := r.markdown(line); wrong != "" {
				return nil, bad("cannot be shown: line %d %s", i+1, wrong)
			}
		}
		r.flush()
	default:
		return nil, fault.InField(pointer+"/contentType", "unsupported", "contentType is text/plain or text/markdown")
	}
	if len(r.blocks) == 0 {
		return nil, bad("is empty")
	}
	if _, err := wire.ViewBytes(r.blocks); err != nil {
		return nil, bad("cannot be shown: %v", err)
	}
	return r.blocks, nil
}

// foreign is what Markdown shows differently than it reads, with the reason.
type foreign struct {
	re  *regexp.Regexp
	why string
}

func foreignMarkdown() []foreign {
	return []foreign{
		{linkText, "holds a link or an image; these are not shown"},
		{htmlTag, "holds HTML; it is not shown"},
		{entity, "holds an HTML entity; write the character itself"},
	}
}

var (
	linkText = regexp.MustCompile(`\]\(|\]\[|\]:|!\[|<[a-zA-Z][a-zA-Z0-9+.-]*:|<[^ >]*@`)
	htmlTag  = regexp.MustCompile(`<[a-zA-Z/!?]`)
	entity   = regexp.MustCompile(`&(#[0-9xX]|[a-zA-Z][a-zA-Z0-9]*;)`)
)

// renderer gathers blocks; the lines of a paragraph wait in para.
type renderer struct {
	blocks []wire.Block
	para   []string
}

func (r *renderer) add(kind, text string) {
	if text != "" {
		r.blocks = append(r.blocks, wire.Block{T: kind, Text: text})
	}
}

func (r *renderer) flush() {
	r.add(wire.Paragraph, strings.Join(r.para, " "))
	r.para = nil
}

// markdown takes one line, and says what is wrong with it.
func (r *renderer) markdown(line string) (wrong string) {
	for _, f := range foreignMarkdown() {
		if f.re.MatchString(line) {
			return f.why
		}
	}
	text := strings.TrimRight(line, " ")
	if text == "" {
		r.flush()
		return ""
	}
	if strings.HasPrefix(text, " ") {
		return "is indented; lists are flat, and code is not shown"
	}
	if strings.ContainsAny(text, "`\\") {
		return "holds code or an escape; these are not shown"
	}
	marker, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case marker == "-" && rest != "", marker == "*" && rest != "":
		return r.item(rest)
	case marker == "#" || marker == "##" || marker == "###":
		return r.whole(wire.Heading, rest)
	case strings.HasPrefix(text, "**") && strings.HasSuffix(text, "**") && len(text) > 4:
		return r.whole(wire.Bold, strings.TrimSpace(text[2:len(text)-2]))
	case text[0] == '|':
		return r.row(text)
	case text[0] == '>' || text[0] == '#' || strings.HasPrefix(text, "~~~"):
		return "begins a quote, a deeper heading or code; these are not shown"
	case strings.Trim(text, "=-_* ") == "":
		return "is a rule or an underline; these are not shown"
	}
	if wrong := inner(text); wrong != "" {
		return wrong
	}
	r.para = append(r.para, text)
	return ""
}

// inner says what is wrong with the text within a block.
func inner(text string) string {
	if strings.Contains(text, "**") || strings.Contains(text, "__") {
		return "is bold in part; only a whole line can be"
	}
	return ""
}

// whole is a line that is a block of its own.
func (r *renderer) whole(kind, text string) string {
	if text == "" {
		return "is empty behind its mark"
	}
	if wrong := inner(text); wrong != "" {
		return wrong
	}
	r.flush()
	r.add(kind, text)
	return ""
}

func (r *renderer) item(text string) string {
	if wrong := inner(text); wrong != "" {
		return wrong
	}
	open := len(r.para) == 0 && len(r.blocks) > 0 && r.blocks[len(r.blocks)-1].T == wire.FlatList
	r.flush()
	if !open {
		r.blocks = append(r.blocks, wire.Block{T: wire.FlatList})
	}
	last := &r.blocks[len(r.blocks)-1]
	last.Items = append(last.Items, text)
	return ""
}

func (r *renderer) row(text string) string {
	cells := strings.Split(strings.TrimSuffix(text[1:], "|"), "|")
	if len(cells) != 2 || !strings.HasSuffix(text, "|") {
		return "is not a row of the form | label | value |"
	}
	label, value := strings.Trim(cells[0], " "), strings.Trim(cells[1], " ")
	if label == "" || value == "" {
		return "is a row without label or value"
	}
	if strings.Trim(label, "-:") == "" && strings.Trim(value, "-:") == "" {
		return "is the underline of a table; a row is | label | value |"
	}
	if wrong := inner(label + value); wrong != "" {
		return wrong
	}
	r.flush()
	r.blocks = append(r.blocks, wire.Block{T: wire.Row, Label: label, Value: value})
	return ""
}
