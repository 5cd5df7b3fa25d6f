package kv

import (
	"slices"
	"sync"
)

// hub hands hints to the watchers in this process.
type hub struct {
	mu       sync.RWMutex
	watchers map[string][]chan struct{}
}

func newHub() *hub { return &hub{watchers: make(map[string][]chan struct{})} }

// watch adds a watcher of key. changed, if not nil, is called after the key got
// its first watcher and after it lost its last.
func (h *hub) watch(key string, changed func(key string)) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	h.mu.Lock()
	h.watchers[key] = append(h.watchers[key], ch)
	first := len(h.watchers[key]) == 1
	h.mu.Unlock()
	if first && changed != nil {
		changed(key)
	}
	return ch, sync.OnceFunc(func() {
		if h.drop(key, ch) && changed != nil {
			changed(key)
		}
	})
}

// drop removes a watcher and reports whether it was the key's last.
func (h *hub) drop(key string, ch chan struct{}) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := h.watchers[key]
	if i := slices.Index(left, ch); i >= 0 {
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		h.watchers[key] = left
		return false
	}
	delete(h.watchers, key)
	return true
}

// hint wakes the watchers of key.
func (h *hub) hint(key string) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, ch := range h.watchers[key] {
		select {
		case ch <- struct{}{}:
		default: // a hint is waiting already
		}
	}
}

// watched reports whether key has a watcher.
func (h *hub) watched(key string) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.watchers[key]) > 0
}

// keys lists all keys that have a watcher.
func (h *hub) keys() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]string, 0, len(h.watchers))
	for key := range h.watchers {
		all = append(all, key)
	}
	return all
}
