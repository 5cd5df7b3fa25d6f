package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"

	"mobileid/internal/lite"
)

// recoverLogs brings into the file at path, whose id is given, what the journals
// beside it hold, and removes them. It returns errStale where they do not tell the
// whole, so that the file without them would be no state that ever was.
func recoverLogs(c *lite.Conn, path, id string, now int64) error {
	last := make(map[string]entry)
	_, err := os.Stat(path + logSuffix)
	behind := err == nil
	for _, suffix := range []string{oldSuffix, logSuffix} {
		b, err := os.ReadFile(path + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		b, ours := bytes.CutPrefix(b, []byte(logMagic))
		if !ours || len(b) < len(id) {
			if err := os.Rename(path+suffix, path+suffix+".bad"); err != nil {
				return err
			}
			return errStale
		}
		if string(b[:len(id)]) != id {
			continue // of a file that was here before
		}
		torn, err := replay(b[len(id):], func(c change) { last[c.key] = c.entry })
		if err != nil || torn && suffix == oldSuffix && behind {
			return errors.Join(errStale, err)
		}
	}
	changes := make([]change, 0, len(last))
	for key, e := range last {
		changes = append(changes, change{key, e})
	}
	if err := putRows(c, changes, now); err != nil {
		return err
	}
	return removeLogs(path)
}

var errLog = errors.New("the journal is damaged")

// replay calls each for all changes of the groups in b. torn says that it ends
// within a group, whose callers were told of nothing.
func replay(b []byte, each func(change)) (torn bool, err error) {
	for len(b) > 0 {
		if len(b) < groupHead {
			return true, nil
		}
		n := int64(binary.LittleEndian.Uint32(b))
		if n > int64(len(b)-groupHead) {
			return true, nil
		}
		group := b[:groupHead+n]
		b = b[len(group):]
		if groupSum(group) != binary.LittleEndian.Uint32(group[4:]) {
			return false, errLog
		}
		f := ReadFields(group[groupHead:])
		for !f.bad && f.rest != "" {
			c := change{key: f.Text(), entry: entry{exp: f.Number()}}
			c.val = []byte(f.Text())
			if !f.bad {
				each(c)
			}
		}
		if f.bad {
			return false, errLog
		}
	}
	return false, nil
}
