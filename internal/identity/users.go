package identity

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// Limits of a user's attributes.
const (
	mostAttributes  = 32
	longestValue    = 1024 // characters of one
	mostAttrBytes   = 8 << 10
	attributeNaming = `^[A-Za-z][A-Za-z0-9_.-]{0,63}$`
)

// CheckAttributes reports what is wrong with a user's attributes.
func CheckAttributes(attrs map[string]string) error {
	if len(attrs) > mostAttributes {
		return fault.InField("/attributes", "too_many", "a user has 32 attributes at most")
	}
	naming, total := regexp.MustCompile(attributeNaming), 0
	for name, value := range attrs {
		total += len(name) + len(value)
		at := "/attributes/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		switch {
		case !naming.MatchString(name):
			return fault.InField(at, "invalid", "an attribute's name is a letter and up to 63 letters, digits, dots, underscores or hyphens")
		case utf8.RuneCountInString(value) > longestValue:
			return fault.InField(at, "too_long", "an attribute has 1024 characters at most")
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return fault.InField(at, "invalid", "an attribute is text without NUL")
		}
	}
	if total > mostAttrBytes {
		return fault.InField("/attributes", "too_long", "a user's attributes have 8 KiB at most")
	}
	return nil
}

// NewUser is a person to be added.
type NewUser struct {
	ID          string // chosen before, so that the same request makes one user; "": a new one
	ExternalRef string
	Attributes  map[string]string
	Proofing    db.Proofing
}

// CreateUser adds a person to the merchant's store.
func (s *Store) CreateUser(ctx context.Context, merchantID, ref string, attributes map[string]string) (db.User, error) {
	return s.AddUser(ctx, merchantID, NewUser{ExternalRef: ref, Attributes: attributes})
}

// AddUser adds a person to the merchant's store; with an ID that was added before
// it changes nothing and returns who is there.
func (s *Store) AddUser(ctx context.Context, merchantID string, n NewUser) (db.User, error) {
	if err := CheckRef(n.ExternalRef); err != nil {
		return db.User{}, err
	}
	if err := CheckAttributes(n.Attributes); err != nil {
		return db.User{}, err
	}
	if n.Attributes == nil {
		n.Attributes = map[string]string{}
	}
	if n.ID == "" {
		n.ID = db.NewID("usr_")
	}
	u := db.User{ID: n.ID, MerchantID: merchantID, ExternalRef: n.ExternalRef, State: db.UserActive, Attributes: n.Attributes, Proofing: n.Proofing,
		Version: 1, CreatedAt: s.Clock.Now()}
	err := s.DB.Update(ctx, func(tx *db.Tx) error {
		if err := tx.InsertUser(u); err != nil {
			return err
		}
		return s.Audit.Append(tx, audit.Record{Act: "user.created", Merchant: merchantID, User: u.ID})
	})
	if errors.Is(err, db.ErrConflict) {
		if have, err := s.User(ctx, merchantID, n.ID); !fault.Is(err, fault.NotFound) {
			return have, err
		}
		return db.User{}, &fault.Error{Kind: fault.StateConflict, Message: "a user with this externalRef exists",
			Fields: []fault.Field{{Pointer: "/externalRef", Code: "taken", Detail: "a user with this externalRef exists"}}}
	}
	return u, err
}

func errNoUser() error   { return fault.New(fault.NotFound, "no such user") }
func errNoDevice() error { return fault.New(fault.NotFound, "no such device") }

// UserIn reads the merchant's user in a transaction; another merchant's is
// not_found.
func UserIn(tx *db.Tx, merchantID, id string) (db.User, error) {
	u, err := tx.User(id)
	if errors.Is(err, db.ErrNotFound) || err == nil && u.MerchantID != merchantID {
		return db.User{}, errNoUser()
	}
	return u, err
}

// User returns the merchant's user.
func (s *Store) User(ctx context.Context, merchantID, id string) (u db.User, err error) {
	err = s.DB.View(ctx, func(tx *db.Tx) error {
		u, err = UserIn(tx, merchantID, id)
		return err
	})
	return u, err
}

// errVersion is the answer to a change of something older.
func errVersion() error {
	return fault.New(fault.VersionConflict, "it was changed since it was read; read it again")
}

// changeTries is how often a change that names no version begins again because
// another came first.
const changeTries = 5

// ChangeUser lets edit change the user's attributes and proofing. version is the
// one that was read, 0 for any.
func (s *Store) ChangeUser(ctx context.Context, merchantID, id string, version int64, edit func(*db.User) error) (db.User, error) {
	var u db.User
	var err error
	for range changeTries {
		err = s.DB.Update(ctx, func(tx *db.Tx) (err error) {
			if u, err = UserIn(tx, merchantID, id); err != nil {
				return err
			}
			switch {
			case version != 0 && version != u.Version:
				return errVersion()
			case u.State == db.UserDeactivated:
				return fault.New(fault.UserDeactivated, "the user is deactivated")
			}
			if err := edit(&u); err != nil {
				return err
			}
			if err := CheckAttributes(u.Attributes); err != nil {
				return err
			}
			if err := tx.ChangeUser(u); err != nil {
				return err
			}
			u.Version++
			return s.Audit.Append(tx, audit.Record{Act: "user.changed", Merchant: merchantID, User: id})
		})
		if !errors.Is(err, db.ErrConflict) || version != 0 {
			break
		}
	}
	if errors.Is(err, db.ErrConflict) {
		err = errVersion()
	}
	return u, err
}

// Device returns the merchant's device.
func (s *Store) Device(ctx context.Context, merchantID, id string) (d db.Device, err error) {
	err = s.DB.View(ctx, func(tx *db.Tx) error {
		d, err = deviceOf(merchantID)(tx.Device(id))
		return err
	})
	return d, err
}

// DeviceIn reads the merchant's device in a transaction, its row locked.
func DeviceIn(tx *db.Tx, merchantID, id string) (db.Device, error) {
	return deviceOf(merchantID)(tx.LockDevice(id))
}

func deviceOf(merchantID string) func(d db.Device, err error) (db.Device, error) {
	return func(d db.Device, err error) (db.Device, error) {
		if errors.Is(err, db.ErrNotFound) || err == nil && d.MerchantID != merchantID {
			return db.Device{}, errNoDevice()
		}
		return d, err
	}
}

// RenameDevice gives the device a name for people.
func (s *Store) RenameDevice(ctx context.Context, merchantID, id, name string) (d db.Device, err error) {
	err = s.DB.Update(ctx, func(tx *db.Tx) error {
		if d, err = DeviceIn(tx, merchantID, id); err != nil {
			return err
		}
		if d.State == db.DeviceDeactivated {
			return fault.New(fault.StateConflict, "the device is deactivated")
		}
		d.Name = name
		return errors.Join(tx.NameDevice(id, name),
			s.Audit.Append(tx, audit.Record{Act: "device.renamed", Merchant: merchantID, User: d.UserID, Device: id}))
	})
	return d, err
}
