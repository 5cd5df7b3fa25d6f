package interop_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const atAccount = `location.pathname === "/account" && !!document.querySelector(".claims")`

// enrol registers a phone on the demo's page as a newcomer does: start, run the
// very command that is shown, compare the digits on both, confirm.
func (b *tab) enrol(s *server) phone {
	b.t.Helper()
	b.visit(s.ShopURL + "/phone")
	b.press("Start registration", state("waiting"))
	if b.eval(`String(document.querySelectorAll(".scan svg, .scan img").length)`) == "0" {
		b.t.Error("the page shows no QR code")
	}
	command := exec.Command("sh", "-c", b.text("#by-link"))
	command.Dir = s.dir
	command.Env = append(os.Environ(), "MOBILEID_PHONE_PIN="+pin)
	stderr := &logged{}
	command.Stderr = stderr
	out, err := command.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { command.Process.Kill() }) // for a test that failed on the way
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	digits := regexp.MustCompile(`[0-9]{4} [0-9]{4}`).FindString(line)
	if err != nil || digits == "" {
		b.t.Fatalf("the phone said %q (%v): %s", line, err, stderr)
	}
	b.until(state("compare"))
	if shown := strings.Join(strings.Fields(b.text(".digits")), " "); shown != digits {
		b.t.Fatalf("the page shows the digits %s, the phone %s", shown, digits)
	}
	b.press("They are the same", state("active"))
	rest, err := io.ReadAll(lines)
	if werr := command.Wait(); err != nil || werr != nil {
		b.t.Fatalf("the phone ended with %v: %s", werr, stderr)
	}
	if !strings.Contains(string(rest), "Registered") {
		b.t.Errorf("the phone said %q at last", rest)
	}
	return phone{s, filepath.Join(s.dir, "alice.json")}
}

// identify goes from the shop's front page to the number on the login page.
func (b *tab) identify(s *server) string {
	b.t.Helper()
	b.visit(s.ShopURL)
	b.press("Log in with MobileID", state("identify"))
	if who := b.text(".who"); who != "Acme Shop" {
		b.t.Errorf("the login page says that %q asks", who)
	}
	b.write("#identifier", s.UserRef)
	b.press("Send to my phone", state("waiting"))
	return b.text(".match strong")
}

// claim is what the account page says the ID token holds.
func (b *tab) claim(name string) string {
	b.t.Helper()
	return b.eval(`[...document.querySelectorAll(".claims tr")].find((r) => r.cells[0].querySelector("code")?.textContent === ` +
		quoted(name) + `)?.cells[1].innerText.trim().split(/\s+/).join(" ") ?? ""`)
}

func TestANewcomerRegistersAPhoneAndLogsInToTheDemoShop(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *tab, scripts bool) {
		s := start(t)
		b.t = t
		p := b.enrol(s)
		number := b.identify(s)
		b.eval(`window.before = "the same document"`)
		p.approve(number)
		b.until(atAccount) // by itself
		if got := b.claim("acr"); got != "urn:mobileid:acr:web" {
			t.Errorf("acr %q", got)
		}
		if got := " " + b.claim("amr") + " "; !strings.Contains(got, " pop ") || !strings.Contains(got, " swk ") || !strings.Contains(got, " pin ") || strings.Contains(got, " hwk ") {
			t.Errorf("amr %q", got)
		}
		txn := b.claim("txn")
		if !strings.HasPrefix(txn, "op_") || b.claim("sub") != s.User || b.claim("iss") != s.Issuer {
			t.Errorf("txn %q, sub %q, iss %q", txn, b.claim("sub"), b.claim("iss"))
		}

		b.press("Log out", `location.pathname === "/" && document.body.innerText.includes("Log in with MobileID")`)
		b.visit(s.ShopURL + "/account")
		b.until(`location.pathname === "/"`) // the shop has forgotten
		b.press("Log in with MobileID", atAccount)
		if again := b.claim("txn"); again != txn {
			t.Errorf("the second login is %s, not the first one's %s: it was not silent", again, txn)
		}
	})
}

func TestALoginThatWasDeclinedIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *tab, scripts bool) {
		s := start(t)
		p := s.registered(s.User)
		b.identify(s)
		p.decline()
		b.until(state("declined"))
		// At once it cannot be tried again: who declines is left in peace for a
		// while, and the page says how long.
		b.press("Try again", state("declined")+` && !!document.querySelector("#live time[datetime]")`)
		until, err := time.Parse(time.RFC3339, b.eval(`document.querySelector("#live time").dateTime`))
		if err != nil || time.Until(until) > 31*time.Second {
			t.Fatalf("it can be tried again at %s (%v)", until, err)
		}
		for time.Now().Before(until) {
			time.Sleep(100 * time.Millisecond)
		}
		b.press("Try again", state("waiting"))
		p.approve(b.text(".match strong"))
		b.until(atAccount)
	})
}

func TestALoginThatIsCancelledInTheBrowserLeadsBackToTheShop(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *tab, scripts bool) {
		s := start(t)
		p := s.registered(s.User)
		b.identify(s)
		b.press("Cancel", `location.origin === `+quoted(s.ShopURL)+` && !!document.querySelector(".notice")`)
		if notice := b.text(".notice"); !strings.Contains(notice, "access_denied") {
			t.Errorf("the shop says %q", notice)
		}
		if out := s.run("phone", "--state", p.file, "inbox"); !strings.Contains(out, "Nothing waits") {
			t.Errorf("the phone still shows:\n%s", out)
		}
	})
}

func TestWrongPINsBlockThePhoneAndTheLoginPageSaysSo(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *tab, scripts bool) {
		s := start(t)
		p := s.registered(s.User)
		number := b.identify(s)
		for range 3 {
			if _, err := s.try("phone", "--state", p.file, "answer", "--match", number, "--pin", wrongPIN); err == nil || !strings.Contains(err.Error(), "exit status 3") {
				t.Fatalf("a wrong PIN: %v, want status 3", err)
			}
		}
		b.until(state("blocked"))
		if b.text("#live time") == "" {
			t.Error("the page does not say until when")
		}
	})
}
