package wire

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"
)

// D7: every message has a nonce of its own, although a key seals one message only:
// a million under one key, by two senders at once, as nodes that know nothing of each
// other or one that was started again.
func TestD7_AMillionMessagesUnderOneKeyShareNoNonce(t *testing.T) {
	const senders, each = 2, 1 << 19
	key := make([]byte, KeySize)
	nonces := make([][]string, senders)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for range each {
				out, err := seal(key, []byte(`{}`), []byte("x"), rand.Reader)
				if err != nil {
					t.Error(err)
					return
				}
				nonces[s] = append(nonces[s], strings.SplitN(string(out), ".", 4)[2])
			}
		})
	}
	wg.Wait()
	all := slices.Concat(nonces...)
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != senders*each || len(all[0]) != 16 {
		t.Fatalf("%d nonces of %d messages", n, senders*each)
	}
}

// D7: and no two requests have a key in common.
func TestD7_EachRequestHasAKeyOfItsOwn(t *testing.T) {
	p := newParty(t)
	seen := map[string]bool{}
	for range 2000 {
		head, _, _ := strings.Cut(p.request(t).JWE, ".")
		if seen[head] {
			t.Fatal("an ephemeral key stands in two messages")
		}
		seen[head] = true
	}
}
