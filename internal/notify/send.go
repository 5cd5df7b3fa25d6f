package notify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/sdk/wire"

	webpush "github.com/SherClockHolmes/webpush-go"
)

// push sends one push. An error is worth another try; an address that is gone is
// forgotten, and what is refused for good is let be.
func (n *Notifier) push(ctx context.Context, a db.PushAddress, w Wake) error {
	status, err := n.send(ctx, a, w)
	switch {
	case err != nil:
		return err
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusNotFound || status == http.StatusGone:
		return n.DB.Update(ctx, func(tx *db.Tx) error { return tx.DropPushAddress(a.DeviceID, a.Hash) })
	case status == http.StatusTooManyRequests || status >= 500:
		return fmt.Errorf("notify: the push service answered %d", status)
	}
	n.Log.WarnContext(ctx, "a push service refused a push", "device", a.DeviceID, "status", status)
	return nil
}

func (n *Notifier) send(ctx context.Context, a db.PushAddress, w Wake) (status int, err error) {
	kept, err := n.Box.Open(purpose(a.DeviceID), a.Sealed)
	if err != nil {
		return 0, err
	}
	var to wire.PushSet
	if err := json.Unmarshal(kept, &to); err != nil {
		return 0, err
	}
	public, private, err := n.vapid(ctx)
	if err != nil {
		return 0, err
	}
	body, err := json.Marshal(wire.Push{Txn: w.OperationID, Tag: w.Tag})
	if err != nil {
		return 0, err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	left := time.UnixMilli(w.Until).Sub(n.Clock.Now())
	res, err := webpush.SendNotificationWithContext(ctx, body, &webpush.Subscription{Endpoint: to.Endpoint, Keys: webpush.Keys{P256dh: b64(to.P256DH), Auth: b64(to.Auth)}},
		&webpush.Options{HTTPClient: way{n.Egress}, Subscriber: contact(n.Issuer), TTL: max(1, int(left/time.Second)), Urgency: webpush.UrgencyHigh,
			VAPIDPublicKey: b64(public), VAPIDPrivateKey: b64(private)})
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// contact is where a push service finds whoever sends: always https, since the
// library takes anything else for an address of mail.
func contact(issuer string) string {
	_, rest, _ := strings.Cut(issuer, "://")
	return "https://" + rest
}

// way is the one way out, as the library wants it.
type way struct{ egress *egress.Client }

func (w way) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	a, err := w.egress.Send(r.Context(), egress.Request{Method: r.Method, URL: r.URL.String(), Header: r.Header, Body: body})
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: a.Status, Header: a.Header, Body: io.NopCloser(bytes.NewReader(a.Body))}, nil
}
