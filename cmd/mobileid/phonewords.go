package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"mobileid/sdk"
	"mobileid/sdk/wire"

	"golang.org/x/term"
)

// told turns an error of the phone into words and an exit status.
func (f *phoneFlags) told(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*exit](err); ok {
		return err
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return &exit{exitRefused, errors.New(sealedWords(e))}
	}
	if _, ok := errors.AsType[*wire.Outer](err); ok {
		return &exit{exitRefused, err}
	}
	if errors.Is(err, sdk.ErrRegistered) {
		return &exit{exitUsage, fmt.Errorf("%s is a registered phone already: name another file with --state, or delete it if that phone is not needed any more", f.state)}
	}
	if errors.Is(err, sdk.ErrNotRegistered) {
		return &exit{exitUsage, fmt.Errorf("%s is not a registered phone: register it first, or name another file with --state", f.state)}
	}
	if _, ok := errors.AsType[*url.Error](err); ok || errors.Is(err, sdk.ErrNoReply) {
		return &exit{exitNetwork, err}
	}
	return err
}

// sealedWords is what a person can do about a refusal.
func sealedWords(e *wire.Error) string {
	left := -1
	if e.Left != nil {
		left = *e.Left
	}
	until := ""
	if e.Until > 0 {
		until = " until " + time.Unix(e.Until, 0).Local().Format("15:04:05")
	}
	switch e.Code {
	case wire.AuthFailed:
		switch left {
		case 0:
			return "the PIN was wrong; this phone is blocked" + until
		case 1:
			return "the PIN was wrong; one attempt is left before this phone is blocked"
		}
		return fmt.Sprintf("the PIN was wrong; %d attempts are left", left)
	case wire.MatchFailed:
		return fmt.Sprintf("that is not the number on the other screen; %d attempts are left", left)
	case wire.Need:
		if slices.Contains(e.Need, wire.NeedRisk) {
			return "this phone is not accepted for what it says, or does not say, of itself; an operation it was asked for is over (see --finding, --country)"
		}
		return "this phone cannot prove what is asked for: " + strings.Join(e.Need, ", ")
	case wire.NotAllowed:
		return "the App does not allow this; new keys, where it requires attestation, need a new registration"
	case wire.OpGone:
		return "too late: the operation is " + e.State
	case wire.OpNotHere:
		return "there is no such operation for this phone"
	case wire.DeviceBlocked:
		return "this phone is blocked" + until
	case wire.UserLocked:
		return "the user is locked"
	case wire.ActivationFailed:
		if left >= 0 {
			return fmt.Sprintf("the activation code is wrong; %d attempts are left", left)
		}
		return "the registration link or code is wrong, used or over: get a new one"
	case wire.DeviceRemoved:
		return "this phone is not registered any more"
	case wire.Fork:
		return "this phone is suspended: a copy of it is in use"
	case wire.AddressRefused:
		return "the server sends nothing to that address: it must be https and public"
	case wire.PushOff:
		return "this App has no pushes"
	case wire.Unavailable:
		return "the server cannot answer now; try again"
	}
	return "the server refused: " + e.Code
}

// askPIN returns the PIN from the flag, the environment or the terminal.
func (f *phoneFlags) askPIN(prompt string) (string, error) {
	if f.pin != "" {
		return f.pin, nil
	}
	if pin := os.Getenv(pinVariable); pin != "" {
		return pin, nil
	}
	return askHidden(prompt)
}

// askHidden asks on the terminal without showing what is typed.
func askHidden(prompt string) (string, error) {
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		fmt.Fprint(os.Stderr, prompt+": ")
		pin, err := term.ReadPassword(fd) // not shown
		fmt.Fprintln(os.Stderr)
		return string(pin), err
	}
	return askLine(prompt)
}

// choosePIN asks for the new phone's PIN. The link is spent by now, so whoever
// types one that will not do is asked again.
func (f *phoneFlags) choosePIN(reg *sdk.Registration) (string, error) {
	for {
		pin, err := f.askPIN(fmt.Sprintf("Choose a PIN for %s (%d to %d digits)", reg.Hint, reg.Policy.PINMin, reg.Policy.PINMax))
		if err != nil {
			return "", err
		}
		err = sdk.CheckPIN(reg.Policy, pin)
		if err == nil {
			return pin, nil
		}
		if f.pin != "" || os.Getenv(pinVariable) != "" {
			return "", &exit{exitUsage, err}
		}
		fmt.Fprintln(os.Stderr, err)
	}
}

// askLine reads no further than the line: what follows is for the next question.
func askLine(prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt+": ")
	var text []byte
	var err error
	for one := make([]byte, 1); err == nil && one[0] != '\n'; {
		var n int
		n, err = os.Stdin.Read(one)
		text = append(text, one[:n]...)
	}
	line := strings.TrimSpace(string(text))
	if line == "" {
		return "", &exit{exitUsage, fmt.Errorf("nothing was typed (%w); use --pin or %s", errors.Join(err), pinVariable)}
	}
	return line, nil
}
