package sdk_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk"
	"mobileid/sdk/keystoretest"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// bench is a testing.TB for examples, which have none.
type bench struct {
	testing.TB
	dirs, after []func()
}

func (b *bench) Helper()                   {}
func (b *bench) Context() context.Context  { return context.Background() }
func (b *bench) Output() io.Writer         { return io.Discard }
func (b *bench) Name() string              { return "example" }
func (b *bench) Cleanup(f func())          { b.after = append(b.after, f) }
func (b *bench) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (b *bench) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func (b *bench) TempDir() string {
	dir, err := os.MkdirTemp("", "mobileid-example")
	if err != nil {
		panic(err)
	}
	b.dirs = append(b.dirs, func() { os.RemoveAll(dir) })
	return dir
}

func (b *bench) end() {
	for i := len(b.after) - 1; i >= 0; i-- {
		b.after[i]()
	}
	for _, remove := range b.dirs {
		remove()
	}
}

// shop is a whole server with a merchant and a user.
func shop() (*rig.Rig, db.User, func()) {
	b := &bench{}
	r := rig.Start(b, rig.Options{Policy: identity.Policy{Trusted: true}})
	return r, r.User(), b.end
}

// A phone registers with the link that its user was shown, and logs in.
func Example() {
	server, user, end := shop()
	defer end()
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "phone")
	defer os.RemoveAll(dir)

	file := &sdk.File{Path: filepath.Join(dir, "phone.json")}
	phone := &sdk.Phone{Store: file, Keys: file, HTTP: http.DefaultClient, Now: server.Now, Rand: rand.Reader, Platform: "android", Model: "Pixel"}
	registration, err := phone.Register(ctx, server.Link(user))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := sdk.CheckPIN(registration.Policy, "123456"); err != nil {
		fmt.Println(err)
	}
	if registration, err = phone.Finish(ctx, "271828"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("registered:", registration.State)

	server.Ask(server.Backend, user)
	waiting, err := phone.List(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range waiting {
		reply, err := phone.Approve(ctx, &waiting[i], "271828", "")
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(waiting[i].Client, reply.State)
	}
	// Output:
	// this PIN is too easy to guess
	// registered: active
	// Acme Backend COMPLETED
}

// Only the server knows whether a PIN was right.
func ExamplePhone_Approve() {
	server, user, end := shop()
	defer end()
	phone := server.Registered(user)
	server.Ask(server.Backend, user)
	waiting, err := phone.List(context.Background())
	if err != nil || len(waiting) != 1 {
		fmt.Println(waiting, err)
		return
	}
	_, err = phone.Approve(context.Background(), &waiting[0], "314159", "")
	if refused, ok := errors.AsType[*wire.Error](err); ok {
		fmt.Println(refused.Code, *refused.Left, "left")
	}
	reply, err := phone.Approve(context.Background(), &waiting[0], "271828", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reply.State)
	// Output:
	// auth_failed 2 left
	// COMPLETED
}

// Finger or face in place of the PIN, until the enrolment changes.
func ExamplePhone_ApproveBio() {
	server, user, end := shop()
	defer end()
	ctx, sensor := context.Background(), &keystoretest.Soft{} // an app brings its platform's
	phone := server.RegisteredAs(user, func(p *sdk.Phone) { p.Platform, p.Bio = "android", sensor })
	if err := phone.AddBiometry(ctx, "271828", "Use your finger from now on"); err != nil {
		fmt.Println(err)
		return
	}
	server.Ask(server.Backend, user)
	waiting, err := phone.List(ctx)
	if err != nil || len(waiting) != 1 {
		fmt.Println(waiting, err)
		return
	}
	fmt.Println(waiting[0].Need)
	reply, err := phone.ApproveBio(ctx, &waiting[0], "Log in to Acme?", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reply.State)

	sensor.Enrol()
	_, err = phone.ApproveBio(ctx, &waiting[0], "Log in to Acme?", "")
	fmt.Println(errors.Is(err, sdk.ErrInvalidated))
	// Output:
	// [pin bio]
	// COMPLETED
	// true
}
