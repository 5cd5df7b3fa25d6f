package identity

import (
	"context"
	"encoding/json"
	"errors"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// AddApp adds an App; with an id that was added before it changes nothing and
// returns what is there. The policy is checked with its defaults.
func (s *Store) AddApp(ctx context.Context, merchantID, id, name string, policy Policy) (db.App, error) {
	if err := policy.WithDefaults().Check(); err != nil {
		return db.App{}, err
	}
	text, err := json.Marshal(policy)
	if err != nil {
		return db.App{}, err
	}
	if id == "" {
		id = db.NewID("app_")
	}
	app := db.App{ID: id, MerchantID: merchantID, Name: name, Policy: text, Version: 1, CreatedAt: s.Clock.Now()}
	err = s.DB.Update(ctx, func(tx *db.Tx) error {
		if err := tx.InsertApp(app); err != nil {
			return err
		}
		return s.Audit.Append(tx, audit.Record{Act: "app.created", Merchant: merchantID, Details: map[string]string{"app": id}})
	})
	if errors.Is(err, db.ErrConflict) {
		return s.App(ctx, merchantID, id)
	}
	return app, err
}

// App returns the merchant's App.
func (s *Store) App(ctx context.Context, merchantID, id string) (a db.App, err error) {
	err = s.DB.View(ctx, func(tx *db.Tx) error {
		a, err = appIn(tx, merchantID, id)
		return err
	})
	return a, err
}

func appIn(tx *db.Tx, merchantID, id string) (db.App, error) {
	a, err := tx.App(id)
	if errors.Is(err, db.ErrNotFound) || err == nil && a.MerchantID != merchantID {
		return db.App{}, fault.New(fault.NotFound, "no such App")
	}
	return a, err
}

// ChangeApp lets edit change the App's name and policy as it stands at version,
// the one that was read; version_conflict if it stands elsewhere.
func (s *Store) ChangeApp(ctx context.Context, merchantID, id string, version int64, edit func(name *string, p *Policy) error) (db.App, error) {
	var a db.App
	err := s.DB.Update(ctx, func(tx *db.Tx) (err error) {
		if a, err = appIn(tx, merchantID, id); err != nil {
			return err
		}
		if a.Version != version {
			return errVersion()
		}
		var p Policy
		if err := json.Unmarshal(a.Policy, &p); err != nil {
			return err
		}
		if err := edit(&a.Name, &p); err != nil {
			return err
		}
		if err := p.WithDefaults().Check(); err != nil {
			return err
		}
		if a.Policy, err = json.Marshal(p); err != nil {
			return err
		}
		if err := tx.ChangeApp(a); err != nil {
			return err
		}
		a.Version++
		return s.Audit.Append(tx, audit.Record{Act: "app.changed", Merchant: merchantID, Details: map[string]string{"app": id}})
	})
	if errors.Is(err, db.ErrConflict) {
		err = errVersion()
	}
	return a, err
}
