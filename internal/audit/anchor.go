package audit

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"mobileid/internal/egress"
)

// Anchor is the chain's head at a time, kept outside the database.
type Anchor struct {
	At   time.Time `json:"at"`
	Seq  int64     `json:"seq"`
	Hash string    `json:"hash"` // hex
}

// File is a sink: one JSON line an anchor, only ever appended to, so that it
// works on a file with the append-only attribute.
type File struct{ Path string }

func (f File) String() string { return f.Path }

// Anchor appends a and returns once it is on the disk.
func (f File) Anchor(_ context.Context, a Anchor) error {
	line, err := json.Marshal(a)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if torn(out) {
		line = append([]byte{'\n'}, line...)
	}
	_, err = out.Write(append(line, '\n'))
	return errors.Join(err, out.Sync(), out.Close())
}

// URL is a sink: the address is posted each anchor as JSON, in the form of a line
// of File, and answers with a status of 2xx once it has kept it.
type URL struct {
	Address string
	Client  *egress.Client
}

func (u URL) String() string { return u.Address }

// Anchor posts a.
func (u URL) Anchor(ctx context.Context, a Anchor) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	status, _, err := u.Client.Post(ctx, u.Address, "application/json", body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("audit: the anchor was answered with %d", status)
	}
	return err
}

// torn reports whether the last line was cut short, by a full disk or a crash.
func torn(f *os.File) bool {
	var last [1]byte
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return false
	}
	_, err = f.ReadAt(last[:], end-1)
	return err == nil && last[0] != '\n'
}

// Anchors is what a file of anchors holds. Unreadable counts lines that are
// none: whoever could garble one could as well have removed it, so they prove
// nothing, but an operator wants to know.
type Anchors struct {
	Anchors    []Anchor
	Unreadable int
}

// ReadAnchors reads a file that a File wrote.
func ReadAnchors(path string) (Anchors, error) {
	var out Anchors
	f, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var a Anchor
		if len(lines.Bytes()) == 0 {
			continue
		}
		raw, err := []byte(nil), json.Unmarshal(lines.Bytes(), &a)
		if err == nil {
			raw, err = hex.DecodeString(a.Hash)
		}
		if err != nil || len(raw) != len(genesis()) || a.Seq < 1 {
			out.Unreadable++
			continue
		}
		out.Anchors = append(out.Anchors, a)
	}
	if err := lines.Err(); err != nil {
		return out, fmt.Errorf("audit: %s: %w", path, err)
	}
	return out, nil
}
