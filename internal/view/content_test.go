package view

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"mobileid/internal/fault"
	"mobileid/sdk/wire"
)

func TestPlainTextIsShownAsItStands(t *testing.T) {
	for text, want := range map[string]string{
		"Hello":                       "Hello\n",
		"  a \r\n\r\nb\n":             "a\nb\n",
		"1 < 2 & <b>bold</b> &amp; x": "1 < 2 & <b>bold</b> &amp; x\n",
		"# no heading\n- no item":     "# no heading\n- no item\n",
		"[a](https://b.example)":      "[a](https://b.example)\n",
	} {
		blocks, err := Content{Text: text}.Blocks("/preContext", MaxContent)
		if err != nil || wire.ViewText(blocks) != want {
			t.Errorf("%q: %q, %v", text, wire.ViewText(blocks), err)
		}
	}
}

func TestMarkdownIsRenderedByItsSubset(t *testing.T) {
	text := "# Vilkår\nFirst line\nof a paragraph.\n\nAnother, 1 < 2 & 3 > 2, snake_case.\n**Fee**\n- one\n- two\n\n* three\n| Amount | 12,50 € |\n### Small\n"
	want := "# Vilkår\nFirst line of a paragraph.\nAnother, 1 < 2 & 3 > 2, snake_case.\n**Fee**\n- one\n- two\n- three\nAmount: 12,50 €\n# Small\n"
	blocks, err := Content{Text: text, Type: Markdown}.Blocks("/preContext", MaxContent)
	if err != nil || wire.ViewText(blocks) != want {
		t.Errorf("%q, %v", wire.ViewText(blocks), err)
	}
}

func TestWhatCannotBeShownIsRefusedAndNamesTheMember(t *testing.T) {
	for name, c := range map[string]Content{
		"nothing": {}, "blanks": {Text: " \n \n"}, "no UTF-8": {Text: "a\xff"}, "a tab": {Text: "a\tb"}, "a bell": {Text: "a\a"},
		"right-to-left override": {Text: "a\u202eb"}, "an isolate": {Text: "\u2066x"}, "a zero-width space": {Text: "a\u200bb"}, "a line separator": {Text: "a\u2028b"},
		"a lone CR": {Text: "a\rb"}, "too long": {Text: strings.Repeat("x", MaxContent+1)}, "too many lines": {Text: strings.Repeat("x\n", 1100)},
		"a link": {Text: "[a](https://b.example)", Type: Markdown}, "a reference": {Text: "[a][b]", Type: Markdown}, "a definition": {Text: "[a]: b", Type: Markdown},
		"an image": {Text: "![a](b)", Type: Markdown}, "an autolink": {Text: "<https://b.example>", Type: Markdown}, "a mail link": {Text: "<a@b.example>", Type: Markdown},
		"HTML": {Text: "a <b>c</b>", Type: Markdown}, "a comment": {Text: "<!-- x -->", Type: Markdown}, "an entity": {Text: "a &amp; b", Type: Markdown},
		"a numeric entity": {Text: "&#x202e;", Type: Markdown}, "code": {Text: "`x`", Type: Markdown}, "a fence": {Text: "~~~\nx", Type: Markdown},
		"an escape": {Text: `\# x`, Type: Markdown}, "a nested list": {Text: "- a\n  - b", Type: Markdown}, "a quote": {Text: "> a", Type: Markdown},
		"bold within": {Text: "pay **1** now", Type: Markdown}, "bold over two lines": {Text: "pay **1\n2** now", Type: Markdown}, "a rule": {Text: "a\n---\nb", Type: Markdown},
		"a deep heading": {Text: "#### a", Type: Markdown}, "an empty heading": {Text: "#", Type: Markdown}, "half a row": {Text: "| a |", Type: Markdown},
		"an empty cell": {Text: "| a |  |", Type: Markdown}, "a table's underline": {Text: "|---|---|", Type: Markdown}, "three cells": {Text: "| a | b | c |", Type: Markdown},
	} {
		t.Run(name, func(t *testing.T) {
			blocks, err := c.Blocks("/preContext", MaxContent)
			e, ok := errors.AsType[*fault.Error](err)
			if !ok || e.Kind != fault.Invalid || len(e.Fields) != 1 || e.Fields[0].Pointer != "/preContext/content" {
				t.Errorf("%v, %v", blocks, err)
			}
		})
	}
	_, err := Content{Text: "x", Type: "text/html"}.Blocks("/preContext", MaxContent)
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.Fields[0].Pointer != "/preContext/contentType" {
		t.Errorf("HTML: %v", err)
	}
}

// source writes blocks as the Markdown that gives them.
func source(blocks []wire.Block) string {
	var sb strings.Builder
	for i, b := range blocks {
		switch b.T {
		case wire.Row:
			sb.WriteString("| " + b.Label + " | " + b.Value + " |\n")
		case wire.Paragraph:
			sb.WriteString(b.Text + "\n\n")
		default:
			sb.WriteString(wire.ViewText(blocks[i : i+1]))
		}
	}
	return sb.String()
}

func FuzzContentIsRenderedTheSameAgainAndHidesNothing(f *testing.F) {
	for _, s := range []string{"Hello", "# a\nb\nc\n\n**d**\n- e\n* f\n| g | h |", "a\u202eb", "[a](b)", "** **", "**a** b**", "* \n-\n#x", "|a|b|\n\n- - -\n** *a* **"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, markdown bool) {
		c := Content{Text: text, Type: PlainText}
		if markdown {
			c.Type = Markdown
		}
		blocks, err := c.Blocks("", MaxContent)
		if err != nil {
			return
		}
		shown := wire.ViewText(blocks)
		for _, r := range shown {
			if r != '\n' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r)) {
				t.Fatalf("%q shows %U", text, r)
			}
		}
		c.Text = shown
		if markdown {
			c.Text = source(blocks)
		}
		again, err := c.Blocks("", 2*MaxContent)
		if err != nil || wire.ViewText(again) != shown {
			t.Fatalf("%q\nshows  %q\nagain  %q, %v", text, shown, wire.ViewText(again), err)
		}
	})
}
