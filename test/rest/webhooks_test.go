package rest

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mobileid/test/rest/client"
	"mobileid/test/rig"
)

// nowhere is an address that may be told and leads nowhere (RFC 2606).
const nowhere = "https://hooks.invalid/a"

func webhooks(t *testing.T, r *rig.Rig, c *client.ClientWithResponses) {
	t.Helper()
	ctx := t.Context()
	made, err := c.CreateWebhookWithResponse(ctx, client.NewWebhook{URL: nowhere, Events: client.WebhookEvents{"signature.finished", "device.added"}})
	hook := must(t, "create", made.JSON201, made.ApplicationProblemJSONDefault, err)
	if !strings.HasPrefix(hook.Secret, "whsec_") || hook.State != "ENABLED" || len(hook.Events) != 2 || made.HTTPResponse.Header.Get("Location") != base+"/webhooks/"+hook.ID {
		t.Fatalf("%+v %v", hook, made.HTTPResponse.Header)
	}
	one, err := c.GetWebhookWithResponse(ctx, hook.ID)
	if got := must(t, "get", one.JSON200, one.ApplicationProblemJSONDefault, err); got.Secret != "" || got.URL != nowhere {
		t.Errorf("%+v", got)
	}
	tag := one.HTTPResponse.Header.Get("ETag")
	changed, err := c.UpdateWebhookWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, hook.ID, &client.UpdateWebhookParams{IfMatch: tag},
		client.WebhookPatch{URL: nowhere + "/b", State: "DISABLED"})
	if got := must(t, "patch", changed.JSON200, changed.ApplicationProblemJSONDefault, err); got.State != "DISABLED" || got.URL != nowhere+"/b" || len(got.Events) != 2 || got.Secret != "" {
		t.Errorf("%+v", got)
	}
	for want, match := range map[int]string{http.StatusPreconditionFailed: tag, http.StatusPreconditionRequired: ""} {
		again, err := c.UpdateWebhookWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, hook.ID, &client.UpdateWebhookParams{IfMatch: match}, client.WebhookPatch{State: "ENABLED"})
		if err != nil || again.HTTPResponse.StatusCode != want || again.ApplicationProblemJSONDefault.Code != "version_conflict" {
			t.Errorf("If-Match %q: %+v, %v; want %d", match, again.ApplicationProblemJSONDefault, err, want)
		}
	}
	if a := r.REST("PATCH", "/webhooks/"+hook.ID, map[string]any{"events": []string{}}, "If-Match", changed.HTTPResponse.Header.Get("ETag")); a.Status != http.StatusOK || len(a.JSON["events"].([]any)) != 0 || a.Text("state") != "DISABLED" {
		t.Errorf("to all events: %s", a)
	}
	turned, err := c.RotateWebhookSecretWithResponse(ctx, hook.ID, client.SecretRotation{Overlap: 3600})
	if got := must(t, "rotate", turned.JSON200, turned.ApplicationProblemJSONDefault, err); got.Secret == "" || got.Secret == hook.Secret {
		t.Errorf("%+v", got)
	}
	var sent []string
	for range 3 {
		r.Clock.Advance(time.Second)
		tested, err := c.TestWebhookWithResponse(ctx, hook.ID)
		sent = append(sent, must(t, "test", tested.JSON202, tested.ApplicationProblemJSONDefault, err).EventID)
	}
	again, err := c.ResendWebhookEventWithResponse(ctx, hook.ID, sent[0])
	must(t, "resend", again.JSON202, again.ApplicationProblemJSONDefault, err)
	var told []string
	cursor := ""
	for {
		page, err := c.ListWebhookDeliveriesWithResponse(ctx, hook.ID, &client.ListWebhookDeliveriesParams{Limit: 2, Cursor: cursor})
		list := must(t, "deliveries", page.JSON200, page.ApplicationProblemJSONDefault, err)
		for _, d := range list.Items {
			told = append(told, d.EventID)
			if d.Type != "test" || d.State == "DELIVERED" || d.ExpiresAt.IsZero() {
				t.Errorf("%+v", d)
			}
		}
		if cursor = list.Next; cursor == "" {
			break
		}
	}
	if len(told) != 3 || told[0] != sent[2] || told[2] != sent[0] {
		t.Errorf("the log has %v of %v", told, sent)
	}
	// An event of one webhook is not another's.
	other := r.REST("POST", "/webhooks", map[string]any{"url": nowhere})
	if a := r.REST("POST", "/webhooks/"+other.Text("id")+"/deliveries/"+sent[0]+"/resend", nil); a.Status != http.StatusNotFound {
		t.Errorf("another webhook's event is sent again: %s", a)
	}
	all, err := c.ListWebhooksWithResponse(ctx)
	if list := must(t, "list", all.JSON200, all.ApplicationProblemJSONDefault, err); len(list.Items) != 2 || list.Items[0].ID != hook.ID || list.Items[0].Secret != "" {
		t.Errorf("%+v", list)
	}
	gone, err := c.DeleteWebhookWithResponse(ctx, hook.ID)
	if err != nil || gone.HTTPResponse.StatusCode != http.StatusNoContent {
		t.Errorf("delete: %v %v", gone, err)
	}
	if a := r.REST("GET", "/webhooks/"+hook.ID, nil); a.Status != http.StatusNotFound {
		t.Errorf("a deleted webhook: %s", a)
	}
}

// F1: an address inside is refused and named, when it is given and when it is changed,
// unless the operator allows its network.
func TestF1_AWebhooksAddressIsPublicOrAllowed(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	made := r.REST("POST", "/webhooks", map[string]any{"url": nowhere})
	if made.Status != http.StatusCreated {
		t.Fatal(made)
	}
	for _, address := range []string{"http://shop.example/a", "https://127.0.0.1/a", "https://[::1]/a", "https://10.0.0.1/a", "https://169.254.169.254/latest", "https://localhost/a",
		"https://intranet/a", "https://2130706433/a", "https://0x7f.1/a", "https://[::ffff:10.0.0.1]/a", "https://shop.example:22/a", "https://u:p@shop.example/a", "https://shop.example/#a",
		"ftp://shop.example/a", "file:///etc/passwd", "https:///a", "https://shop.example/ a", "no address"} {
		for method, path := range map[string]string{"POST": "/webhooks", "PATCH": "/webhooks/" + made.Text("id")} {
			if a := r.REST(method, path, map[string]any{"url": address}, "If-Match", `"1"`); a.Status != http.StatusBadRequest || a.Text("code") != "invalid_request" || !names(a, "/url") {
				t.Errorf("%s %s: %s", method, address, a)
			}
		}
	}
	if a := r.REST("GET", "/webhooks", nil); len(a.JSON["items"].([]any)) != 1 || !strings.Contains(a.Body, `"version":1`) {
		t.Errorf("a refused address left something: %s", a)
	}
	open := rig.Start(t, rig.Options{Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if a := open.REST("POST", "/webhooks", map[string]any{"url": "http://127.0.0.1:1/a"}); a.Status != http.StatusCreated {
		t.Errorf("an allowed network: %s", a)
	}
	if a := open.REST("POST", "/webhooks", map[string]any{"url": "http://10.0.0.1/a"}); a.Status != http.StatusBadRequest {
		t.Errorf("another network: %s", a)
	}
}

// begunInTheApp starts an authentication of the merchant's app, which claims it.
func begunInTheApp(t *testing.T, r *rig.Rig, c *client.ClientWithResponses) {
	t.Helper()
	ctx := t.Context()
	u, p := r.Person()
	in := client.NewOperation{UserID: u.ID, Initiation: "app", PreContext: client.Content{Content: "Open the gate"}}
	started, err := c.StartAuthenticationWithResponse(ctx, nil, in)
	op := must(t, "authentication in the app", started.JSON201, started.ApplicationProblemJSONDefault, err)
	if !strings.HasPrefix(op.StartToken, op.ID+".") || op.MatchCode != "" {
		t.Fatalf("%+v", op)
	}
	if ops, err := p.List(ctx); err != nil || len(ops) != 0 {
		t.Errorf("before its claim the phone is offered %d, %v", len(ops), err)
	}
	claimed, err := p.Claim(ctx, op.StartToken)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Approve(ctx, claimed, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetAuthenticationWithResponse(ctx, op.ID, nil)
	if out := must(t, "status", got.JSON200, got.ApplicationProblemJSONDefault, err); out.State != "COMPLETED" || out.StartToken != "" {
		t.Errorf("%+v", out)
	}
}
