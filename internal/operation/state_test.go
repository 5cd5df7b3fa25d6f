package operation

import "testing"

func TestEveryCellOfStateAndMove(t *testing.T) {
	states := []State{Pending, Claimed, Completed, Declined, Reported, Locked, Cancelled, Superseded, Expired}
	moves := map[Move]State{Claim: Claimed, Approve: Completed, Decline: Declined, Report: Reported, Lock: Locked,
		Cancel: Cancelled, Supersede: Superseded, Expire: Expired}
	for _, s := range states {
		open := s == Pending || s == Claimed
		if s.Terminal() == open {
			t.Errorf("%s: terminal %v", s, s.Terminal())
		}
		for m, to := range moves {
			want, legal := s, false
			if open && !(s == Claimed && m == Claim) {
				want, legal = to, true
			}
			got, ok := Next(s, m)
			if ok != legal || legal && got != want {
				t.Errorf("%s, %s: %s, %v; want %s, %v", s, m, got, ok, want, legal)
			}
			if !legal && s.Terminal() && got != s {
				t.Errorf("%s, %s: a terminal state became %s", s, m, got)
			}
		}
		if got, ok := Next(s, "teleport"); ok || got != s {
			t.Errorf("%s: an unknown move is legal, to %s", s, got)
		}
	}
	if len(states) != 9 || len(moves) != 8 {
		t.Error("a cell is missing here")
	}
}

func TestAcrsAreRankedAndNothingElseIs(t *testing.T) {
	for i, acr := range []string{ACRPossession, ACRWeb, ACRApp, ACRAppHW} {
		if Rank(acr) != i {
			t.Errorf("%s has rank %d", acr, Rank(acr))
		}
	}
	for _, acr := range []string{"", "urn:mobileid:acr", "urn:mobileid:acr:WEB", ACRWeb + " "} {
		if Rank(acr) != -1 {
			t.Errorf("%q has rank %d", acr, Rank(acr))
		}
	}
}
