package operation

import (
	"encoding/json"
	"sync"

	"mobileid/internal/db"
	"mobileid/internal/identity"
)

// mostPolicies bounds the policies that are kept.
const mostPolicies = 1024

// policies keeps what was parsed, by the text as the App's row has it: an entry
// cannot grow old. The zero value is empty and ready.
type policies struct {
	mu sync.RWMutex
	by map[string]identity.Policy
}

func (k *policies) parse(appID, text string) (identity.Policy, error) {
	k.mu.RLock()
	have, ok := k.by[text]
	k.mu.RUnlock()
	if ok {
		return have, nil
	}
	p, err := identity.PolicyOf(db.App{ID: appID, Policy: json.RawMessage(text)})
	if err != nil {
		return p, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil || len(k.by) >= mostPolicies {
		k.by = map[string]identity.Policy{}
	}
	k.by[text] = p
	return p, nil
}
