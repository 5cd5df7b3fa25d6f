package db

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestWhatIsToldOfCommitsIsTrue(t *testing.T) {
	d := open(t)
	var groups []int
	d.Observe(Observer{Commit: func(n int, _ time.Duration) { groups = append(groups, n) }})
	var told []string
	insert := func(id string, fail error) error {
		return d.Update(context.Background(), func(tx *Tx) error {
			tx.OnCommit(func() { told = append(told, id) })
			return errors.Join(tx.InsertMerchant(Merchant{ID: id}), fail)
		})
	}
	release := held(t, d)
	var all sync.WaitGroup
	no := errors.New("no")
	for id, fail := range map[string]error{"mer_1": nil, "mer_2": no, "mer_3": nil} {
		all.Go(func() {
			if err := insert(id, fail); (err == nil) != (fail == nil) {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	release()
	all.Wait()
	if err := d.Close(); err != nil { // the writer has ended: what it told can be read
		t.Fatal(err)
	}
	sum := 0
	for _, n := range groups {
		sum += n
	}
	if sum != 3 { // the one that held the writer, and two that did not fail
		t.Errorf("groups of %v", groups)
	}
	if len(told) != 2 || told[0] == "mer_2" || told[1] == "mer_2" {
		t.Errorf("told of %v", told)
	}
}
