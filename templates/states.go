package templates

// sentence is what the login page says in a state. An unknown state reads as
// unavailable, which promises nothing.
func (v InteractionView) sentence() sentence {
	x := speak(v.Lang).interaction
	switch v.State {
	case StateIdentify:
		return x.identify
	case StateWaiting:
		if v.MatchCode != "" {
			return x.waitingMatch
		}
		return x.waiting
	case StateDeclined:
		return x.declined
	case StateReported:
		return x.reported
	case StateExpired:
		return x.expired
	case StateLocked:
		return x.locked
	case StateBlocked:
		return x.blocked
	case StateNoDevice:
		return x.noDevice
	case StateCancelled:
		return x.cancelled
	case StateUnfit:
		return x.unfit
	case StateSuperseded:
		return x.superseded
	case StateDone:
		return x.done
	}
	return x.unavailable
}

// sign is the picture that goes with the state.
func (v InteractionView) sign() string {
	switch v.State {
	case StateIdentify, StateWaiting:
		return "phone"
	case StateDone:
		return "yes"
	case StateDeclined, StateCancelled, StateUnfit:
		return "no"
	case StateReported:
		return "flag"
	case StateExpired:
		return "time"
	case StateLocked, StateBlocked:
		return "lock"
	}
	return "note"
}

// retryable says whether the same request may be tried again: not after a
// report, and not while no phone may answer.
func (v InteractionView) retryable() bool {
	switch v.State {
	case StateReported, StateLocked:
		return false
	}
	return true
}

// countdown starts only where the user can still act.
func (v InteractionView) countdown() string {
	if v.State != StateWaiting {
		return ""
	}
	return seconds(v.SecondsLeft)
}

// sentence is what the demo page says in a state.
func (v DemoView) sentence() sentence {
	x := speak(v.Lang).demo
	switch v.State {
	case DemoStart:
		return x.start
	case DemoWaiting:
		return x.waiting
	case DemoCompare:
		return x.compare
	case DemoActive:
		return x.active
	case DemoRefused:
		return x.refused
	case DemoExpired:
		return x.expired
	}
	return x.unavailable
}

func (v DemoView) sign() string {
	switch v.State {
	case DemoStart, DemoWaiting:
		return "phone"
	case DemoCompare:
		return "digits"
	case DemoActive:
		return "yes"
	case DemoRefused:
		return "no"
	case DemoExpired:
		return "time"
	}
	return "note"
}

// open reports whether the registration still waits for somebody.
func (v DemoView) open() bool { return v.State == DemoWaiting || v.State == DemoCompare }
