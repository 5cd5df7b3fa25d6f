package kv

import "hash/maphash"

// filterBits makes one in sixty keys that are not there look as if they were, with
// 50 000 that are; one in twelve with 100 000.
const filterBits = 1 << 19

// filter is a Bloom filter of keys: what it does not know was never added.
type filter struct {
	seed maphash.Seed
	bits [filterBits / 64]uint64
}

func newFilter() *filter { return &filter{seed: maphash.MakeSeed()} }

// places are the three bits of a key.
func (f *filter) places(key string) [3]uint64 {
	h := maphash.String(f.seed, key)
	return [3]uint64{h % filterBits, h >> 20 % filterBits, h >> 40 % filterBits}
}

func (f *filter) add(key string) {
	for _, at := range f.places(key) {
		f.bits[at/64] |= 1 << (at % 64)
	}
}

// may reports whether the key may have been added.
func (f *filter) may(key string) bool {
	for _, at := range f.places(key) {
		if f.bits[at/64]&(1<<(at%64)) == 0 {
			return false
		}
	}
	return true
}
