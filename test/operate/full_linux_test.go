package operate_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/test/program"
	"mobileid/test/rig"
)

// onSmallDisk writes a program that runs the binary with a disk of the size at
// dir, which only it can see and which ends with it. "" where the system does
// not let this user mount.
func onSmallDisk(t *testing.T, dir, size string) string {
	t.Helper()
	for _, unshare := range []string{"unshare -m", "unshare -rm"} {
		inside := fmt.Sprintf("mount -t tmpfs -o size=%s,mode=700 tmpfs %s", size, dir)
		words := append(strings.Fields(unshare), "sh", "-c", inside)
		if exec.Command(words[0], words[1:]...).Run() != nil {
			continue
		}
		script := filepath.Join(t.TempDir(), "mobileid")
		text := fmt.Sprintf("#!/bin/sh\nexec %s sh -c '%s && exec %s \"$@\"' sh \"$@\"\n", unshare, inside, binary)
		if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return script
	}
	return ""
}

func TestL4_X9_AFullDiskAcknowledgesNothingAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	bin := onSmallDisk(t, disk, "24m")
	if bin == "" {
		t.Skip("neither root nor a user namespace may mount a small disk here")
	}
	s := program.Start(t, bin, dir, "MOBILEID_DB__URL=sqlite:"+disk+"/mobileid.db", "MOBILEID_AUDIT__ANCHOR_FILE="+disk+"/anchors.log")
	there := fmt.Sprintf("/proc/%d/root%s", s.PID(), disk) // the disk, from outside
	b := backend{t, s, &rig.Rig{T: t, HTTP: &http.Client{Timeout: 30 * time.Second}}}
	defer b.r.HTTP.CloseIdleConnections()
	p := b.phone()
	var acknowledged []string
	// login returns the operation it approved, or why it was not.
	login := func() error {
		ack := b.post("/bc-authorize", map[string][]string{"scope": {"openid"}, "login_hint": {s.UserRef}})
		if ack.Status != http.StatusOK {
			return fmt.Errorf("bc-authorize: %d %s", ack.Status, ack.Body)
		}
		ops, err := p.List(t.Context())
		if err != nil || len(ops) == 0 {
			return fmt.Errorf("list: %d, %w", len(ops), errors.Join(err))
		}
		op := ops[len(ops)-1]
		_, err = p.Approve(t.Context(), &op, rig.PIN, "")
		if err == nil {
			acknowledged = append(acknowledged, op.Txn)
		}
		token := b.post("/token", map[string][]string{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {ack.Text("auth_req_id")}})
		if err != nil && token.Text("access_token") != "" {
			t.Fatalf("tokens for what the phone was refused: %v", err)
		}
		return err
	}
	for range 3 {
		if err := login(); err != nil {
			t.Fatal(err)
		}
	}
	fill := filepath.Join(there, "fill")
	f, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 16
		} else if err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	// What is left of the files' own room may still be used; then nothing goes.
	refused := 0
	for tries := 0; refused < 3; tries++ {
		if tries > 3000 {
			t.Fatal("the disk is full and everything is acknowledged")
		}
		if err := login(); err != nil {
			refused++
		}
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if err := login(); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("with room again: %v\n%s", err, s.Log())
		}
	}
	// The chain is anchored once a minute, or a moment later where the disk was full.
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(there, "anchors.log")); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("no anchor: %v", err)
		}
	}
	// SQLite would follow the way into the server's disk by name, and end up in ours.
	if err := syscall.Kill(s.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(s.PID(), syscall.SIGCONT) }() // however the test ends, it can be stopped
	copied := t.TempDir()
	for _, name := range []string{"mobileid.db", "mobileid.db-wal", "anchors.log"} {
		content, err := os.ReadFile(filepath.Join(there, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(s.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	out, errs, code := program.Run(t, binary, nil, "audit", "verify", "--data-dir", copied, "--anchors", filepath.Join(copied, "anchors.log"))
	if code != 0 || !strings.HasPrefix(out, "ok: ") {
		t.Errorf("the chain: %d, %s%s", code, out, errs)
	}
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(copied, "mobileid.db"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, id := range acknowledged {
		err := d.View(t.Context(), func(tx *db.Tx) error {
			o, err := operation.OutcomeOf(tx, id)
			if err == nil && o.State != operation.Completed {
				err = fmt.Errorf("is %s", o.State)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s was acknowledged: %v", id, err)
		}
	}
	t.Logf("%d acknowledged, %d refused", len(acknowledged), refused)
}
