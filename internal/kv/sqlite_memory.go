package kv

import (
	"slices"
	"sync"
)

// Bounds in bytes, of tables with what a record costs beside its key and value.
const (
	recordCost = 112
	freshBytes = 256 << 10 // of written records in memory
	frontBytes = 256 << 10 // of each half of the records kept of the file
	logBytes   = 4 << 20   // of the journal
)

// entry is what is known of a key: a record, or with exp 0 that there is none.
type entry struct {
	val []byte // never changed
	exp int64  // Unix milliseconds
	// inFile: the file may hold a row under the key, or will once the sealed
	// table is in it.
	inFile bool
}

// change is what a call has made of a key.
type change struct {
	key string
	entry
}

// table is a map of entries that knows its size.
type table struct {
	m    map[string]entry
	size int
}

func newTable(likely int) table { return table{m: make(map[string]entry, likely)} }

func (t *table) put(key string, e entry) {
	t.drop(key)
	t.m[key] = e
	t.size += len(key) + len(e.val) + recordCost
}

func (t *table) drop(key string) {
	if had, ok := t.m[key]; ok {
		t.size -= len(key) + len(had.val) + recordCost
		delete(t.m, key)
	}
}

// memory is what the store knows without its file, asked in this order:
//
//	fresh      what was written; the journal has it
//	sealed     what was written before that; the older journal has it. It goes into
//	           the file once fresh is full, and most of it is removed before
//	young, old rows of the file that were read or written last
//	rows       which keys the file may hold at all; nil while that is not known
//
// A record that is removed before it was ever in the file leaves nothing behind.
// New rows go into young, and once that is full it becomes old, whose rows are
// forgotten.
//
// Only who leads the line adds to fresh and seals it, only who holds the file's
// lock changes the others, with a change of the file.
type memory struct {
	mu            sync.RWMutex
	fresh, sealed table
	young, old    table
	rows          *filter
	wanted        bool       // the sealed table is to go into the file, or a part of it has
	failed        error      // why that did not go through yet
	moved         *sync.Cond // sealed or failed has changed
}

func newMemory() *memory {
	m := &memory{fresh: newTable(0), young: newTable(0)}
	m.moved = sync.NewCond(&m.mu)
	return m
}

// find returns what is known of the key; known says that the file need not be asked.
func (m *memory) find(key string) (e entry, known bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if e, known = m.fresh.m[key]; known {
		return e, true
	}
	if e, known = m.sealed.m[key]; known {
		e.inFile = true
		return e, true
	}
	if e, known = m.young.m[key]; known {
		return e, true
	}
	if e, known = m.old.m[key]; known {
		return e, true
	}
	return entry{}, m.rows != nil && !m.rows.may(key)
}

// apply makes changes that the journal has.
func (m *memory) apply(changes []change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		m.write(c.key, c.entry)
	}
}

func (m *memory) write(key string, e entry) {
	if before, ok := m.sealed.m[key]; ok && !m.wanted { // it need not go into the file any more
		e.inFile = before.inFile
		m.sealed.drop(key)
	}
	if e.exp == 0 && !e.inFile {
		m.fresh.drop(key)
	} else {
		m.fresh.put(key, e)
	}
}

// load is the size of what was written, and whether there is a sealed table.
func (m *memory) load() (size int, sealed bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.fresh.size, m.sealed.m != nil
}

// prune forgets written records whose time is over and that the file has never
// held. It returns the size of the rest.
func (m *memory) prune(now int64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.fresh.m {
		if e.exp <= now && !e.inFile {
			m.fresh.drop(key)
		}
	}
	return m.fresh.size
}

// seal puts what was written aside for the file. There must be no sealed table.
func (m *memory) seal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sealed, m.fresh = m.fresh, newTable(len(m.fresh.m))
}

// want has the sealed table go into the file; it reports whether there is one of
// which nobody has said so before.
func (m *memory) want() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.sealed.m != nil && !m.wanted
	m.wanted = m.wanted || first
	return first
}

// wants reports whether the sealed table is to go into the file.
func (m *memory) wants() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.wanted
}

// settled waits until the sealed table that is wanted in the file is there, or returns
// why it cannot be.
func (m *memory) settled() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.wanted && m.failed == nil {
		m.moved.Wait()
	}
	return m.failed
}

// due lists the keys of the sealed table, sorted.
func (m *memory) due() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keys := make([]string, 0, len(m.sealed.m))
	for key := range m.sealed.m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// pick returns what the file must be told of some keys of the sealed table. What
// was written anew since then, or is over and was never in the file, it forgets.
func (m *memory) pick(keys []string, now int64) (changes []change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		e, ok := m.sealed.m[key]
		if !ok {
			continue
		}
		newer, again := m.fresh.m[key]
		if again { // it is not sealed any more: the file holds what it held before
			newer.inFile = e.inFile
			m.write(key, newer)
		}
		if again || e.exp <= now && !e.inFile {
			m.sealed.drop(key)
			continue
		}
		changes = append(changes, change{key, e})
	}
	return changes
}

// filed takes over what the file was told at the time now.
func (m *memory) filed(changes []change, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		m.sealed.drop(c.key)
		if c.exp <= now {
			m.young.drop(c.key)
			m.old.drop(c.key)
			continue
		}
		m.keep(c.key, c.entry)
		if m.rows != nil {
			m.rows.add(c.key)
		}
	}
}

// read keeps a row that was read from the file.
func (m *memory) read(key string, e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(key, e)
}

func (m *memory) keep(key string, e entry) {
	if m.young.size > frontBytes {
		m.old, m.young = m.young, newTable(len(m.young.m))
	}
	e.inFile = true
	m.young.put(key, e)
}

// done says that the sealed table is in the file, or why it is not.
func (m *memory) done(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed = err; err == nil {
		m.sealed, m.wanted = table{}, false
	}
	m.moved.Broadcast()
}

// trouble is why the sealed table is not in the file, if it should be.
func (m *memory) trouble() error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.failed
}

// holds says which keys the file may hold, until it is told anew. It returns a
// filter for the next time.
func (m *memory) holds(rows *filter) *filter {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.rows
	m.rows = rows
	if before == nil {
		return newFilter()
	}
	clear(before.bits[:])
	return before
}

// knows reports whether it was ever told which keys the file may hold.
func (m *memory) knows() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.rows != nil
}
