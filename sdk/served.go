package sdk

import (
	"errors"
	"fmt"
	"slices"

	"mobileid/sdk/wire"
)

// UpgradeError means that the server serves newer versions of the protocol alone: the
// app has to be upgraded. Nothing was changed.
type UpgradeError struct {
	Min int // the lowest version that the server serves
}

func (e *UpgradeError) Error() string {
	return fmt.Sprintf("the server serves mid/%d and later; this app speaks mid/%d and has to be upgraded", e.Min, wire.Version)
}

var (
	// ErrServerOlder means that the server serves older versions of the protocol alone.
	ErrServerOlder = fmt.Errorf("the server does not serve mid/%d yet", wire.Version)
	// ErrNotServed means that the server does not know the call. Nothing was sent.
	ErrNotServed = errors.New("the server does not serve this call")
)

// served reports a server that serves no version that this package speaks. What the
// signed key set says counts; a word in the clear is a hint to fetch it.
func served(set *wire.KeySet) error {
	v := set.Sup.V
	switch {
	case slices.Contains(v, wire.Version):
		return nil
	case len(v) == 0:
		return ErrServerOlder
	}
	return unserved(slices.Min(v))
}

// unserved is what a lowest served version means that is not ours.
func unserved(lowest int) error {
	if lowest > wire.Version {
		return &UpgradeError{Min: lowest}
	}
	return ErrServerOlder
}
