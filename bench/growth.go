package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"mobileid/flows"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/operation"
	"mobileid/sdk/wire"
)

// grown are the servers that growth compares: the same program with something in
// its stores before it is measured.
var grown = []struct {
	name           string
	users, pending bool
}{{"few", false, false}, {"users", true, false}, {"pending", false, true}}

// growth loads three servers in turn: one with the measured users only, one with
// o.growth users more, one with o.growth requests that wait.
func growth(ctx context.Context, o options, engine, bin, dir string, to io.Writer) error {
	begun := time.Now()
	o.people = min(o.people, 100)
	sides := make([]*side, len(grown))
	for i, g := range grown {
		users, pending := 0, 0
		if g.users {
			users = o.growth
		}
		if g.pending {
			pending = o.growth
		}
		s, stop, err := grow(ctx, o, engine, bin, filepath.Join(dir, g.name), users, pending)
		defer stop()
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		s.name, sides[i] = g.name, s
	}
	ready := time.Since(begun)
	if err := compare(ctx, sides, o.rounds, o.count); err != nil {
		return err
	}
	fmt.Fprintf(to, "%s store; growth: %d users against %d more, none pending against %d (seeded in %s)\n",
		engine, o.people, o.growth, o.growth, ready.Round(time.Second))
	fmt.Fprintf(to, "%-28s %8s %10s %7s %10s %7s\n", "flow", "few", "users", "ratio", "pending", "ratio")
	for _, r := range rows {
		few, users, pending := sides[0].figure(r), sides[1].figure(r), sides[2].figure(r)
		fmt.Fprintf(to, "%-28s %8.3f %10.3f %6.2fx %10.3f %6.2fx\n", r.name, ms(few.cpu), ms(users.cpu), users.over(few), ms(pending.cpu), pending.over(few))
	}
	for _, s := range sides {
		fmt.Fprintf(to, "memory of %q:", s.name)
		for i, pid := range s.pids {
			rss, _, _, err := memory(pid)
			if err != nil {
				return err
			}
			fmt.Fprintf(to, " %s %d MB", []string{"server", "Redis"}[i], rss>>20)
		}
		fmt.Fprintln(to)
	}
	fmt.Fprintln(to)
	return nil
}

// grow starts a server with users and pending requests in its stores. stop is to
// be called even beside an error.
func grow(ctx context.Context, o options, engine, bin, dir string, users, pending int) (s *side, stop func(), err error) {
	var stops []func()
	stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, stop, err
	}
	store := "sqlite:" + filepath.Join(dir, "kv.db")
	addr, pids := "", []int(nil)
	if engine == "redis" {
		redis, at, err := startRedis(ctx, dir)
		if err != nil {
			return nil, stop, err
		}
		stops = append(stops, redis.stop)
		addr, pids, store = at, []int{redis.pid()}, "redis://"+at
	}
	server, d, err := startServer(ctx, o.cores, bin, dir, addr) // makes merchant and clients
	if err != nil {
		return nil, stop, err
	}
	server.stop()
	if users+pending > 0 {
		if err := seedStores(ctx, dir, store, d, users, pending); err != nil {
			return nil, stop, fmt.Errorf("seeding: %w", err)
		}
	}
	if server, d, err = startServer(ctx, o.cores, bin, dir, addr); err != nil {
		return nil, stop, err
	}
	stops = append(stops, server.stop)
	s = &side{settle: o.settle, pids: append([]int{server.pid()}, pids...)}
	if s.pool, err = dialAll(hostOf(d.Issuer), o.conns); err != nil {
		return nil, stop, err
	}
	stops = append(stops, s.pool.close)
	us, err := newOurs(ctx, s.pool, d, o.people)
	if err != nil {
		return nil, stop, fmt.Errorf("%w\n%s", err, server.log.String())
	}
	s.step = us.step
	return s, stop, nil
}

// seedStores writes into the stores of a server that does not run: users with a
// phone each, and requests that wait for people who do not exist.
func seedStores(ctx context.Context, dir, store string, d demo, users, pending int) error {
	clk := clock.System{}
	data, err := db.Open(ctx, "sqlite:"+filepath.Join(dir, "mobileid.db"), clk)
	if err != nil {
		return err
	}
	defer data.Close()
	var client db.Client
	var apps []db.App
	err = data.View(ctx, func(tx *db.Tx) (err error) {
		if client, err = tx.Client(d.Backend.ID); err == nil {
			apps, err = tx.AppsOf(client.MerchantID)
		}
		return err
	})
	if err != nil {
		return err
	}
	const batch = 2000 // rows of one transaction
	for at := 0; at < users; at += batch {
		err := data.Update(ctx, func(tx *db.Tx) error {
			for i := at; i < min(at+batch, users); i++ {
				if err := seedUser(tx, client.MerchantID, apps[0].ID, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if pending == 0 {
		return nil
	}
	short, err := kv.Open(ctx, store, clk)
	if err != nil {
		return err
	}
	defer short.Close()
	box, err := keys.NewBox(make([]byte, 32)) // only names those who do not exist
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	ops := operation.New(operation.Config{DB: data, KV: short, Box: box, Clock: clk, Log: log})
	ask := flows.New(flows.Config{DB: data, KV: short, Users: &identity.Store{DB: data, Clock: clk}, Operations: ops, Clock: clk, Log: log})
	client.Settings.RevealUnknownUser = false
	for i := range pending {
		_, err := ask.StartBackchannel(ctx, flows.BackchannelStart{Client: &client, Hint: "nobody-" + strconv.Itoa(i),
			BindingMessage: "Order 4711", Scopes: []string{"openid"}, ExpiresIn: operation.MaxLife})
		if err != nil {
			return err
		}
	}
	return nil
}

// seedUser inserts a user and a phone, with bytes of the usual size in place of
// keys and of the last message.
func seedUser(tx *db.Tx, merchant, app string, i int) error {
	now := tx.Now()
	u := db.User{ID: db.NewID("usr_"), MerchantID: merchant, ExternalRef: "seed-" + strconv.Itoa(i), State: db.UserActive,
		Attributes: map[string]string{"name": "Seeded"}, CreatedAt: now}
	if err := tx.InsertUser(u); err != nil {
		return err
	}
	fill := func(n int) []byte {
		b := make([]byte, n)
		rand.Read(b)
		return b
	}
	thumb := wire.Encode(fill(32))
	return tx.InsertDevice(db.Device{ID: db.NewID("dev_"), MerchantID: merchant, UserID: u.ID, AppID: app, OperationID: db.NewID("op_"),
		State: db.DeviceActive, Name: "Seeded", Platform: "cli", DSK: `{"kty":"EC","crv":"P-256","x":"` + thumb + `","y":"` + thumb + `"}`, DSKThumb: thumb,
		Commitment: fill(64), Pos: "swk", Enrol: "qr", Epoch: 1, MaxFailures: 5, HandleSalt: fill(32), CreatedAt: now,
		Chain: db.Chain{Head: fill(32), Seq: 3, IssuedAt: now, SpentHead: fill(32), LastJTI: rand.Text(), LastJWE: fill(32), LastJWS: fill(32),
			LastResult: fill(100), LastReply: fill(700)}})
}
