package main

import (
	"context"
	"fmt"
	"time"
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
