// Package flows is how a request becomes a device operation and an outcome:
// redirect login and backchannel. Who may be asked, how often, and what they
// are shown is decided here, below every handler.
package flows

// Flows is the one core behind every way in.
type Flows struct{}
