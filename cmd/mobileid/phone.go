package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mobileid/sdk"
	"mobileid/sdk/wire"

	"github.com/spf13/cobra"
)

const pinVariable = "MOBILEID_PHONE_PIN"

// phoneFlags are what the phone's commands share.
type phoneFlags struct {
	state, issuer, pin, match string
	newPIN                    string
	ca                        string
	report, approve           bool
	says                      says
}

func phoneCommand() *cobra.Command {
	var f phoneFlags
	group := &cobra.Command{Use: "phone", Short: "A phone for the command line: keys in a file, PIN checked by the server"}
	group.PersistentFlags().StringVar(&f.state, "state", "phone.json", "file that is this phone")
	group.PersistentFlags().StringVar(&f.ca, "ca", "", "PEM file of the only certificate authority to trust (default: those of the system)")

	register := &cobra.Command{
		Use: "register LINK | LOCATOR CODE", Short: "Register with a link, or with a typed locator and activation code",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 && len(args) != 2 {
				return &exit{exitUsage, errors.New("give the registration link, or the locator and the code")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.told(f.register(cmd.Context(), args)) },
	}
	register.Flags().StringVar(&f.issuer, "issuer", "http://localhost:8080", "the server, when a locator is typed")

	inbox := &cobra.Command{
		Use: "inbox", Short: "List what waits for an answer", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.told(f.inbox(cmd.Context())) },
	}
	claim := &cobra.Command{
		Use: "claim START_TOKEN", Short: "Take over an operation that the merchant's app began", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.told(f.claim(cmd.Context(), args[0])) },
	}
	answer := &cobra.Command{
		Use: "answer [OPERATION]", Short: "Approve an operation; without a name, the only one that waits", Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return f.told(f.answer(cmd.Context(), args)) },
	}
	answer.Flags().StringVar(&f.match, "match", "", "the number that the other screen shows")
	pin := &cobra.Command{
		Use: "pin", Short: "Change the PIN: asks for the old one, then for the new one", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.told(f.changePIN(cmd.Context())) },
	}
	pin.Flags().StringVar(&f.newPIN, "new-pin", "", "the new PIN (asked for when not set)")
	rotate := &cobra.Command{
		Use: "rotate", Short: "Replace this phone's keys; the PIN stays", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.told(f.rotate(cmd.Context())) },
	}
	history := &cobra.Command{
		Use: "history", Short: "List what was decided, newest first", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.told(f.history(cmd.Context())) },
	}
	push := &cobra.Command{
		Use: "push [ENDPOINT P256DH AUTH]", Short: "Have the server wake this phone at a Web Push or UnifiedPush subscription; without one, forget it and print the server's key",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 3 {
				return &exit{exitUsage, errors.New("give the subscription's endpoint and its two keys (p256dh and auth, base64url), or nothing")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.told(f.push(cmd.Context(), args)) },
	}
	remove := &cobra.Command{
		Use: "remove", Short: "Give this phone's registration up and delete its keys", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.told(f.remove(cmd.Context())) },
	}
	decline := &cobra.Command{
		Use: "decline [OPERATION]", Short: "Decline an operation", Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error { return f.told(f.decline(cmd.Context(), args)) },
	}
	decline.Flags().BoolVar(&f.report, "report", false, "say that you never asked for this")
	watch := &cobra.Command{
		Use: "watch", Short: "Show operations as they come; with --approve, approve those that need no number", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.told(f.watch(cmd.Context())) },
	}
	watch.Flags().BoolVar(&f.approve, "approve", false, "approve without asking")
	for _, c := range []*cobra.Command{register, answer, watch, pin, rotate} {
		c.Flags().StringVar(&f.pin, "pin", "", "the PIN (or "+pinVariable+"; asked for when neither is set)")
	}
	for _, c := range []*cobra.Command{register, answer, watch, pin, rotate} {
		f.says.flags(c.Flags())
	}
	group.AddCommand(register, inbox, claim, answer, pin, rotate, push, history, remove, decline, watch)
	return group
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &exit{exitUsage, fmt.Errorf("%s takes one operation at most", cmd.CommandPath())}
	}
	return nil
}

func (f *phoneFlags) register(ctx context.Context, args []string) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	var reg *sdk.Registration
	if len(args) == 1 {
		reg, err = p.Register(ctx, args[0])
	} else {
		reg, err = p.RegisterTyped(ctx, f.issuer, args[0], args[1])
	}
	if err != nil {
		return err
	}
	pin, err := f.choosePIN(reg)
	if err != nil {
		return err
	}
	if reg, err = p.Finish(ctx, pin); err != nil {
		return err
	}
	if reg.Compare {
		fmt.Printf("Compare these digits with the other screen and confirm there: %s %s\n", reg.Digits[:4], reg.Digits[4:])
	}
	for reg.State == wire.RegPending {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
		if reg, err = p.Status(ctx); err != nil {
			return err
		}
	}
	if reg.State != wire.RegActive {
		return &exit{exitRefused, errors.New("the registration was refused")}
	}
	fmt.Println("Registered. This phone is", f.state)
	return nil
}

func show(op *wire.Operation) error {
	blocks, err := wire.ParseView(op.View)
	if err != nil {
		return fmt.Errorf("%s cannot be shown: %w", op.Txn, err)
	}
	fmt.Printf("%s  for %s more\n", op.Txn, time.Until(time.Unix(op.Exp, 0)).Round(time.Second))
	for line := range strings.Lines(wire.ViewText(blocks)) {
		fmt.Print("  ", line)
	}
	if op.Match == wire.MatchTyped {
		fmt.Println("  (needs the number that the other screen shows: --match)")
	}
	if op.Left == 1 {
		fmt.Println("  (one more wrong PIN blocks this phone)")
	}
	return nil
}

// showAfter prints what an approval brought to show.
func showAfter(reply *wire.AnswerReply) error {
	if len(reply.Post) == 0 {
		return nil
	}
	blocks, err := wire.ParseView(reply.Post)
	if err != nil {
		return fmt.Errorf("what %s brought cannot be shown: %w", reply.Txn, err)
	}
	for line := range strings.Lines(wire.ViewText(blocks)) {
		fmt.Print("  ", line)
	}
	return nil
}

func (f *phoneFlags) inbox(ctx context.Context) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	ops, err := p.List(ctx)
	if err != nil {
		return err
	}
	if len(ops) == 0 {
		fmt.Println("Nothing waits.")
	}
	for i := range ops {
		if err := show(&ops[i]); err != nil {
			return err
		}
	}
	return nil
}

// claim shows what the start token is for; answer answers it.
func (f *phoneFlags) claim(ctx context.Context, token string) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	if _, err := wire.ParseStartToken(token); err != nil {
		return &exit{exitUsage, err}
	}
	op, err := p.Claim(ctx, token)
	if err != nil {
		return err
	}
	return show(op)
}

func (f *phoneFlags) changePIN(ctx context.Context) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	old, err := f.askPIN("The PIN of now")
	if err != nil {
		return err
	}
	pin := f.newPIN
	if pin == "" {
		if pin, err = askHidden("The new PIN"); err != nil {
			return err
		}
	}
	if err := p.ChangePIN(ctx, old, pin); err != nil {
		return err
	}
	fmt.Println("The PIN is changed.")
	return nil
}

func (f *phoneFlags) rotate(ctx context.Context) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	pin, err := f.askPIN("PIN")
	if err != nil {
		return err
	}
	if err := p.Rotate(ctx, pin); err != nil {
		return err
	}
	fmt.Println("The keys are replaced.")
	return nil
}

// one picks the operation that args name, or the only one.
func (f *phoneFlags) one(ctx context.Context, p *sdk.Phone, args []string) (*wire.Operation, error) {
	ops, err := p.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 && len(ops) == 1 {
		return &ops[0], nil
	}
	for i := range ops {
		if len(args) == 1 && ops[i].Txn == args[0] {
			return &ops[i], nil
		}
	}
	if len(args) == 0 && len(ops) > 1 {
		return nil, &exit{exitUsage, fmt.Errorf("%d operations wait: name one (see inbox)", len(ops))}
	}
	return nil, &exit{exitRefused, errors.New("no such operation waits for this phone")}
}

func (f *phoneFlags) answer(ctx context.Context, args []string) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	op, err := f.one(ctx, p, args)
	if err != nil {
		return err
	}
	if err := show(op); err != nil {
		return err
	}
	match := f.match
	if op.Match == wire.MatchTyped && match == "" {
		if match, err = askLine("The number on the other screen"); err != nil {
			return err
		}
	}
	pin, err := f.askPIN("PIN")
	if err != nil {
		return err
	}
	reply, err := p.Approve(ctx, op, pin, match)
	if err != nil {
		return err
	}
	fmt.Println(reply.State)
	return showAfter(reply)
}

func (f *phoneFlags) decline(ctx context.Context, args []string) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	op, err := f.one(ctx, p, args)
	if err != nil {
		return err
	}
	reply, err := p.Decline(ctx, op, f.report)
	if err != nil {
		return err
	}
	fmt.Println(reply.State)
	return nil
}

// watch shows each operation once, and approves it if so told.
func (f *phoneFlags) watch(ctx context.Context) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	pin := ""
	if f.approve {
		var err error
		if pin, err = f.askPIN("PIN"); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for ctx.Err() == nil {
		ops, err := p.List(ctx)
		if err != nil {
			return err
		}
		for i := range ops {
			op := &ops[i]
			if seen[op.Txn] {
				continue
			}
			seen[op.Txn] = true
			if err := show(op); err != nil {
				return err
			}
			if !f.approve || op.Match == wire.MatchTyped {
				continue
			}
			reply, err := p.Approve(ctx, op, pin, "")
			if errors.Is(err, &wire.Error{Code: wire.OpGone}) {
				continue
			}
			if err != nil {
				return err
			}
			fmt.Println(" ", reply.State)
			if err := showAfter(reply); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}
