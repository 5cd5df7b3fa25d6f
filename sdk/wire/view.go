package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kinds of blocks in a view.
const (
	Paragraph = "p"
	Heading   = "h"
	Bold      = "b"
	FlatList  = "list"
	Row       = "row"
)

const (
	maxBlocks  = 1024
	maxItems   = 256
	maxViewLen = 48 << 10 // bytes of the canonical form
)

// Block is one piece of a view. Text belongs to p, h and b; Items to list;
// Label and Value to row.
type Block struct {
	T     string   `json:"t"`
	Text  string   `json:"text,omitempty"`
	Items []string `json:"items,omitempty"`
	Label string   `json:"label,omitempty"`
	Value string   `json:"value,omitempty"`
}

// ViewBytes checks the blocks and writes them once: these bytes are the view
// that is stored, sent, hashed and signed. They are never made again.
func ViewBytes(blocks []Block) ([]byte, error) {
	if err := checkBlocks(blocks); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(blocks); err != nil {
		return nil, err
	}
	out := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(out) > maxViewLen {
		return nil, errors.New("view is too long")
	}
	return out, nil
}

// ParseView reads view bytes by the same rules. A phone that cannot show every
// block must not offer to approve, so an unknown kind or member is an error.
func ParseView(view []byte) ([]Block, error) {
	if len(view) > maxViewLen {
		return nil, errors.New("view is too long")
	}
	if err := checkJSON(view); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(view))
	dec.DisallowUnknownFields()
	var blocks []Block
	if err := dec.Decode(&blocks); err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	if dec.InputOffset() != int64(len(view)) {
		return nil, errors.New("view: bytes after the end")
	}
	return blocks, checkBlocks(blocks)
}

func checkBlocks(blocks []Block) error {
	if len(blocks) == 0 || len(blocks) > maxBlocks {
		return errors.New("a view has 1 to 1024 blocks")
	}
	for i, b := range blocks {
		if err := b.check(); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

func (b Block) check() error {
	switch b.T {
	case Paragraph, Heading, Bold:
		if b.Items != nil || b.Label != "" || b.Value != "" {
			return errors.New("members of another kind")
		}
		return CheckText(b.Text)
	case FlatList:
		if b.Text != "" || b.Label != "" || b.Value != "" || len(b.Items) == 0 || len(b.Items) > maxItems {
			return errors.New("a list has 1 to 256 items and nothing else")
		}
		for _, item := range b.Items {
			if err := CheckText(item); err != nil {
				return err
			}
		}
		return nil
	case Row:
		if b.Text != "" || b.Items != nil {
			return errors.New("members of another kind")
		}
		return errors.Join(CheckText(b.Label), CheckText(b.Value))
	}
	return fmt.Errorf("unknown kind %q", b.T)
}

// CheckText refuses empty text and characters that show as something else than
// they are: controls (line breaks too: a line is a block), bidirectional and
// other invisible formatting, separators, private use, noncharacters. The two
// joiners stay, since Persian and emoji are spelled with them.
func CheckText(s string) error {
	if s == "" || !utf8.ValidString(s) {
		return errors.New("text is empty or not UTF-8")
	}
	for _, r := range s {
		switch {
		case r == '\u200c' || r == '\u200d':
		case r < 0x7f && r >= 0x20:
		case r == utf8.RuneError, r&0xfffe == 0xfffe, r >= 0xfdd0 && r <= 0xfdef,
			unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp):
			return fmt.Errorf("character U+%04X is not allowed", r)
		}
	}
	return nil
}

// ViewText is the plain rendering that every phone without a richer one shows:
// one line a block or item, "# " before a heading, "**" around bold, "- "
// before an item, "label: value" for a row.
func ViewText(blocks []Block) string {
	var sb strings.Builder
	for _, b := range blocks {
		switch b.T {
		case Heading:
			sb.WriteString("# " + b.Text + "\n")
		case Bold:
			sb.WriteString("**" + b.Text + "**\n")
		case FlatList:
			for _, item := range b.Items {
				sb.WriteString("- " + item + "\n")
			}
		case Row:
			sb.WriteString(b.Label + ": " + b.Value + "\n")
		default:
			sb.WriteString(b.Text + "\n")
		}
	}
	return sb.String()
}
