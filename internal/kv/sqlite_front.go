package kv

import (
	"bytes"
	"sync"
)

// frontBytes bounds each half of the front, counted with what a record costs beside
// its key and value.
const (
	frontBytes  = 512 << 10
	frontRecord = 112
)

// front holds the records that were written or read last, so that most reads cost
// no statement. Only who leads the line changes it, after the file was changed and
// before any caller is told so: a read that begins after a write was acknowledged
// finds that write, here or in the file, and what is here has reached the system.
// What is not here may still be in the file.
//
// It is two halves: new records go into the young one, and once that is full it
// becomes the old one, whose records are forgotten.
type front struct {
	mu         sync.RWMutex
	young, old map[string]shadow
	size       int // of young
}

type shadow struct {
	val []byte // never changed
	exp int64  // Unix milliseconds
}

func newFront() *front { return &front{young: map[string]shadow{}} }

// get returns a copy of the record as it is now; known says that the file need not
// be asked.
func (f *front) get(key string, now int64) (val []byte, live, known bool) {
	s, known := f.find(key)
	if !known || s.exp <= now {
		return nil, false, known
	}
	return append(make([]byte, 0, len(s.val)), s.val...), true, true
}

func (f *front) find(key string) (shadow, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	s, ok := f.young[key]
	if !ok {
		s, ok = f.old[key]
	}
	return s, ok
}

// put keeps the record. val is copied: the caller's may change.
func (f *front) put(key string, val []byte, exp int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > frontBytes {
		f.young, f.old, f.size = make(map[string]shadow, len(f.young)), f.young, 0
	}
	if had, ok := f.young[key]; ok {
		f.size -= len(key) + len(had.val) + frontRecord
	}
	f.young[key] = shadow{bytes.Clone(val), exp}
	f.size += len(key) + len(val) + frontRecord
}

func (f *front) drop(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if had, ok := f.young[key]; ok {
		f.size -= len(key) + len(had.val) + frontRecord
		delete(f.young, key)
	}
	delete(f.old, key)
}

// learn takes over what became of a call.
func (f *front) learn(o *op) {
	switch {
	case o.kind == opPing || o.kind == opSweep:
	case o.err != nil:
		f.drop(o.key) // not found, or failed: ask the file
	case o.kind == opGet:
		f.put(o.key, o.out, o.exp)
	case o.kind == opCreate && o.rows > 0, o.kind == opSwap && o.rows > 0 && o.ttl > 0:
		f.put(o.key, o.val, o.exp)
	case o.kind == opSwap && o.rows > 0:
		if s, known := f.find(o.key); known { // it is what was replaced, and its time goes on
			f.put(o.key, o.val, s.exp)
		}
	case o.kind == opTake || o.kind == opDelete:
		f.drop(o.key)
	}
}
