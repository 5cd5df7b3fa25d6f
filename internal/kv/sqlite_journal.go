package kv

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
)

// The journal holds what was written and is not in the SQLite file yet:
//
//	header   "MIDklog1", then the id of the file it belongs to
//	group    what one batch of calls has changed, wholly or not at all
//	         length  4 bytes, of what comes behind the sum
//	         sum     4 bytes, CRC-32C of the length and of what comes behind the sum
//	         changes: key, expiry (0: deleted), value
//
// Numbers are little-endian or, in changes, varints; keys and values have their
// length before them. A change says what the key holds then, whatever it held
// before, so a journal may be carried out twice.
//
// A second journal, the older one, is there while a sealed table goes into the file.
const (
	logMagic  = "MIDklog1"
	logSuffix = "-log"     // of the journal's name behind that of the file
	oldSuffix = "-log.old" // of the older journal
	newSuffix = "-log.new" // of one that has no header yet
	groupHead = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal is the one being written. Only who leads the line uses it, except for
// removeOlder.
type journal struct {
	path string // of the SQLite file
	id   string // of the SQLite file
	f    *os.File
	end  int64 // where the next group goes
	torn bool  // behind end there may be a part of a group that was not acknowledged
	buf  []byte
}

// newJournal begins a journal of the file at path, in place of any that is there.
func newJournal(path, id string) (*journal, error) {
	j := &journal{path: path, id: id}
	f, err := j.create()
	if err == nil {
		err = j.begin(f)
	}
	return j, err
}

func (j *journal) create() (*os.File, error) {
	f, err := os.OpenFile(j.path+newSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(logMagic + j.id); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (j *journal) begin(f *os.File) error {
	if err := os.Rename(j.path+newSuffix, j.path+logSuffix); err != nil {
		f.Close()
		return err
	}
	if j.f != nil {
		j.f.Close() // what was written is with the system
	}
	j.f, j.end, j.torn = f, int64(len(logMagic+j.id)), false
	return nil
}

// rotate begins a new journal; the one so far becomes the older one. After an error
// it goes on as before.
func (j *journal) rotate() error {
	if err := j.trim(); err != nil {
		return err
	}
	f, err := j.create()
	if err != nil {
		return err
	}
	// It is not there if begin has failed last time.
	if err := os.Rename(j.path+logSuffix, j.path+oldSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Close()
		return err
	}
	return j.begin(f)
}

// append writes changes as one group. When it returns the system has them, and a
// killed process loses nothing; after an error none of them will ever be found.
func (j *journal) append(changes []change) error {
	if err := j.trim(); err != nil {
		return err
	}
	b := append(j.buf[:0], make([]byte, groupHead)...)
	for _, c := range changes {
		b = AppendText(b, c.key)
		b = binary.AppendVarint(b, c.exp)
		b = binary.AppendUvarint(b, uint64(len(c.val)))
		b = append(b, c.val...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-groupHead))
	binary.LittleEndian.PutUint32(b[4:], groupSum(b))
	if j.buf = b; cap(b) > 64<<10 {
		j.buf = nil
	}
	if _, err := j.f.WriteAt(b, j.end); err != nil {
		j.torn = true
		return errors.Join(err, j.trim())
	}
	j.end += int64(len(b))
	return nil
}

// trim takes away what a write that failed has left.
func (j *journal) trim() error {
	if j.torn {
		if err := j.f.Truncate(j.end); err != nil {
			return err
		}
		j.torn = false
	}
	return nil
}

// removeOlder removes the older journal, whose changes are in the file. One that
// stays is replaced by the next, and until then changes nothing: all of it is in the
// file, and what has changed since then is in the journal behind it.
func (j *journal) removeOlder() { _ = os.Remove(j.path + oldSuffix) }

// close ends the journal; folded says that the file has all changes.
func (j *journal) close(folded bool) error {
	err := j.f.Close()
	if folded {
		err = errors.Join(err, removeLogs(j.path))
	}
	return err
}

// groupSum is the sum of the group b.
func groupSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[groupHead:])
}

// removeLogs removes the journals whose changes are in the file. The older one goes
// first: without the one behind it, it would bring back what that has changed.
func removeLogs(path string) error {
	for _, suffix := range []string{oldSuffix, logSuffix, newSuffix} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
