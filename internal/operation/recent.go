package operation

import "sync"

// recent keeps what this node has met last, by id. It is two halves: new ones go into
// the young one, and once that has half of the most it becomes the old one, which is
// forgotten. What is found is shared: only to be read.
type recent[V any] struct {
	half int

	mu         sync.RWMutex
	young, old map[string]V
}

func (k *recent[V]) keep(id string, v V) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.young == nil || len(k.young) >= k.half {
		k.young, k.old = make(map[string]V, len(k.young)), k.young
	}
	k.young[id] = v
}

func (k *recent[V]) find(id string) (V, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	v, ok := k.young[id]
	if !ok {
		v, ok = k.old[id]
	}
	return v, ok
}

func (k *recent[V]) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.young, id)
	delete(k.old, id)
}
