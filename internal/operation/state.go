package operation

// State is the state of an operation, as it stands on the wire.
//
//	           ┌──────────── cancel, supersede, expire ────────────┐
//	           │                                                   ▼
//	start ─► PENDING ── claim ─► CLAIMED ── approve ─► COMPLETED   CANCELLED
//	           │                   │                               SUPERSEDED
//	           └── approve,        ├── decline ──────► DECLINED    EXPIRED
//	               decline,        ├── report ───────► REPORTED
//	               report,         └── lock ─────────► LOCKED
//	               lock
//
// An operation that is addressed by name goes straight from PENDING to its
// decision; CLAIMED is for those that a device binds to itself first (a
// registration is claimed by reg.begin). LOCKED means that no allowed device is
// left. Every state but the first two is terminal and is a row in SQL.
type State string

const (
	Pending    State = "PENDING"
	Claimed    State = "CLAIMED"
	Completed  State = "COMPLETED"
	Declined   State = "DECLINED"
	Reported   State = "REPORTED"
	Locked     State = "LOCKED"
	Cancelled  State = "CANCELLED"
	Superseded State = "SUPERSEDED"
	Expired    State = "EXPIRED"
)

// Move is what happens to an operation.
type Move string

const (
	Claim     Move = "claim"
	Approve   Move = "approve"
	Decline   Move = "decline"
	Report    Move = "report"
	Lock      Move = "lock"
	Cancel    Move = "cancel"
	Supersede Move = "supersede"
	Expire    Move = "expire"
)

// Terminal reports whether the state is final.
func (s State) Terminal() bool { return s != Pending && s != Claimed }

// Next is the table of legal moves: the state after m, and whether m is legal.
func Next(s State, m Move) (State, bool) {
	if s.Terminal() {
		return s, false
	}
	switch m {
	case Claim:
		return Claimed, s == Pending
	case Approve:
		return Completed, true
	case Decline:
		return Declined, true
	case Report:
		return Reported, true
	case Lock:
		return Locked, true
	case Cancel:
		return Cancelled, true
	case Supersede:
		return Superseded, true
	case Expire:
		return Expired, true
	}
	return s, false
}
