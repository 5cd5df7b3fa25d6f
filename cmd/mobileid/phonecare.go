package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mobileid/sdk/wire"
)

func (f *phoneFlags) history(ctx context.Context) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	past, err := p.History(ctx)
	if err != nil {
		return err
	}
	if len(past) == 0 {
		fmt.Println("Nothing was decided yet.")
	}
	for _, o := range past {
		by := map[string]string{"this": "on this phone", "other": "on another phone"}[o.By]
		fmt.Printf("%s  %s  %s  %s  %s %s\n", time.Unix(o.At, 0).Local().Format("2 Jan 2006 15:04"), o.Txn, o.Kind, o.State, o.Client, by)
	}
	return nil
}

func (f *phoneFlags) remove(ctx context.Context) error {
	p, err := f.phone()
	if err != nil {
		return err
	}
	if err := p.Remove(ctx); err != nil {
		return err
	}
	fmt.Println("This phone is removed.")
	return nil
}

// push registers a subscription; without one it forgets what there is.
func (f *phoneFlags) push(ctx context.Context, args []string) error {
	var set wire.PushSet
	if len(args) == 3 {
		set.Endpoint = args[0]
		if err := errors.Join(set.P256DH.UnmarshalText([]byte(args[1])), set.Auth.UnmarshalText([]byte(args[2]))); err != nil {
			return &exit{exitUsage, fmt.Errorf("the subscription's keys: %w", err)}
		}
	}
	p, err := f.phone()
	if err != nil {
		return err
	}
	key, err := p.SetPush(ctx, set)
	if err != nil {
		return err
	}
	if set.Endpoint == "" {
		fmt.Printf("This phone is not woken by push. The server's key for a subscription: %s\n", wire.Encode(key))
		return nil
	}
	fmt.Println("This phone is woken by push.")
	return nil
}
