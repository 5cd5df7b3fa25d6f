package rest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/internal/evidence"
	"mobileid/test/rest/client"
	"mobileid/test/rig"
)

// The whole contract by the generated client: every operation succeeds at least
// once, and every request and answer is what the contract says.
func TestEveryOperationOfTheContractIsServed(t *testing.T) {
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		c, a := caller(t, r)
		user := people(t, r, c)
		devices(t, r, c, user)
		r.Clock.Advance(time.Second)
		apps(t, c)
		operations(t, r, c)
		begunInTheApp(t, r, c)
		webhooks(t, r, c)
		r.Clock.Advance(db.EventsSettle)
		events(t, c)
		for path, item := range a.doc.Paths.Map() {
			for method, op := range item.Operations() {
				if !a.done[op.OperationID] {
					t.Errorf("%s %s (%s) never succeeded", method, path, op.OperationID)
				}
			}
		}
	})
}

func people(t *testing.T, r *rig.Rig, c *client.ClientWithResponses) client.User {
	t.Helper()
	ctx := t.Context()
	made, err := c.CreateUserWithResponse(ctx, &client.CreateUserParams{IdempotencyKey: "k-1"}, client.NewUser{ExternalRef: "alice",
		Attributes: client.Attributes{"name": "Alice", "phone": "1"}, Proofing: client.Proofing{Reference: "case-1", Method: "video"}})
	u := must(t, "create", made.JSON201, made.ApplicationProblemJSONDefault, err)
	if u.State != "ACTIVE" || u.Proofing.Reference != "case-1" || made.HTTPResponse.Header.Get("Location") != base+"/users/"+u.ID {
		t.Fatalf("%+v %v", u, made.HTTPResponse.Header)
	}
	for range 3 {
		r.User()
	}
	found, err := c.ResolveUserWithResponse(ctx, client.ResolveUser{ExternalRef: "alice"})
	if got := must(t, "resolve", found.JSON200, found.ApplicationProblemJSONDefault, err); got.ID != u.ID {
		t.Fatalf("resolved %+v", got)
	}
	one, err := c.GetUserWithResponse(ctx, u.ID)
	must(t, "get", one.JSON200, one.ApplicationProblemJSONDefault, err)
	patched, err := c.UpdateUserWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, u.ID, &client.UpdateUserParams{IfMatch: one.HTTPResponse.Header.Get("ETag")},
		client.UserPatch{Attributes: map[string]any{"phone": nil, "email": "alice@example.com"}})
	if got := must(t, "patch", patched.JSON200, patched.ApplicationProblemJSONDefault, err); got.Attributes["email"] == "" || got.Attributes["name"] != "Alice" || len(got.Attributes) != 2 {
		t.Fatalf("patched %+v", got)
	}
	seen, cursor := map[string]bool{}, ""
	for pages := 1; ; pages++ {
		page, err := c.ListUsersWithResponse(ctx, &client.ListUsersParams{Limit: 2, Cursor: cursor})
		list := must(t, "list", page.JSON200, page.ApplicationProblemJSONDefault, err)
		for _, x := range list.Items {
			if seen[x.ID] {
				t.Errorf("%s is on two pages", x.ID)
			}
			seen[x.ID] = true
		}
		if cursor = list.Next; cursor == "" {
			if pages != 2 {
				t.Errorf("%d pages of 2 for 4 users", pages)
			}
			break
		}
	}
	search, err := c.ListUsersWithResponse(ctx, &client.ListUsersParams{Search: "lic", State: "ACTIVE"})
	if list := must(t, "search", search.JSON200, search.ApplicationProblemJSONDefault, err); len(seen) != 4 || len(list.Items) != 1 || list.Items[0].ID != u.ID {
		t.Errorf("listed %d, found %+v", len(seen), list)
	}
	for _, do := range []func() (*client.UserFound, *client.Problem, error){
		func() (*client.UserFound, *client.Problem, error) {
			x, err := c.LockUserWithResponse(ctx, u.ID)
			return x.JSON200, x.ApplicationProblemJSONDefault, err
		},
		func() (*client.UserFound, *client.Problem, error) {
			x, err := c.UnlockUserWithResponse(ctx, u.ID)
			return x.JSON200, x.ApplicationProblemJSONDefault, err
		},
	} {
		body, problem, err := do()
		must(t, "move", body, problem, err)
	}
	gone := r.User()
	x, err := c.DeactivateUserWithResponse(ctx, gone.ID)
	if got := must(t, "deactivate", x.JSON200, x.ApplicationProblemJSONDefault, err); got.State != "DEACTIVATED" || got.ExternalRef != gone.ExternalRef {
		t.Errorf("%+v", got)
	}
	return u
}

func devices(t *testing.T, r *rig.Rig, c *client.ClientWithResponses, u client.User) {
	t.Helper()
	ctx := t.Context()
	started, err := c.StartRegistrationWithResponse(ctx, nil, client.NewRegistration{UserID: u.ID})
	reg := must(t, "registration", started.JSON201, started.ApplicationProblemJSONDefault, err)
	p := r.Phone()
	if _, err := p.Register(ctx, reg.Link); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(ctx, rig.PIN); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetRegistrationWithResponse(ctx, reg.ID, &client.GetRegistrationParams{Wait: "1s"})
	if st := must(t, "status", got.JSON200, got.ApplicationProblemJSONDefault, err); st.State != "COMPLETED" || st.DeviceID != r.State(p).Device {
		t.Fatalf("%+v", st)
	}
	typedOne, err := c.StartRegistrationWithResponse(ctx, &client.StartRegistrationParams{IdempotencyKey: "r-1"},
		client.NewRegistration{UserID: u.ID, ActivationCode: true, Proofing: client.Proofing{Reference: "case-2"}})
	second := must(t, "a further device", typedOne.JSON201, typedOne.ApplicationProblemJSONDefault, err)
	p2 := r.Phone()
	if _, err := p2.RegisterTyped(ctx, r.Issuer, second.Locator, second.ActivationCode); err != nil {
		t.Fatal(err)
	}
	if _, err := p2.Finish(ctx, rig.PIN); err != nil {
		t.Fatal(err)
	}
	done, err := c.ConfirmRegistrationWithResponse(ctx, second.ID, client.Confirmation{Digits: r.State(p2).Digits})
	if st := must(t, "confirm", done.JSON200, done.ApplicationProblemJSONDefault, err); st.State != "COMPLETED" {
		t.Fatalf("%+v", st)
	}
	third, err := c.StartRegistrationWithResponse(ctx, nil, client.NewRegistration{UserID: u.ID, Proofing: client.Proofing{Reference: "case-3"}})
	end, err2 := c.CancelRegistrationWithResponse(ctx, must(t, "third", third.JSON201, third.ApplicationProblemJSONDefault, err).ID)
	if st := must(t, "cancel", end.JSON200, end.ApplicationProblemJSONDefault, err2); st.State != "CANCELLED" {
		t.Fatalf("%+v", st)
	}

	r.Clock.Advance(time.Second)
	ask := r.Ask(r.Backend, db.User{ExternalRef: u.ExternalRef})
	r.Approve(p, "")
	r.Poll(r.Backend, ask.Text("auth_req_id"))
	id := r.State(p).Device
	full, err := c.GetDeviceWithResponse(ctx, id, &client.GetDeviceParams{Detailed: true})
	if d := must(t, "device", full.JSON200, full.ApplicationProblemJSONDefault, err); d.Details.Possession != "swk" || d.Details.FailureLimit != 3 || d.Details.LastSeenAt.IsZero() {
		t.Errorf("%+v", d)
	}
	renamed, err := c.UpdateDeviceWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, id, client.DevicePatch{Name: "Blue"})
	if d := must(t, "rename", renamed.JSON200, renamed.ApplicationProblemJSONDefault, err); d.Name != "Blue" || d.Details != (client.DeviceDetails{}) {
		t.Errorf("%+v", d)
	}
	mine, err := c.ListUserDevicesWithResponse(ctx, u.ID)
	all, err2 := c.ListDevicesWithResponse(ctx, &client.ListDevicesParams{State: "ACTIVE", Limit: 1})
	if list, page := must(t, "user's", mine.JSON200, mine.ApplicationProblemJSONDefault, err), must(t, "all", all.JSON200, all.ApplicationProblemJSONDefault, err2); len(list.Items) != 2 || len(page.Items) != 1 || page.Next == "" {
		t.Errorf("%+v %+v", list, page)
	}
	byUser, err := c.ListUserTransactionsWithResponse(ctx, u.ID, &client.ListUserTransactionsParams{Limit: 2})
	byDevice, err2 := c.ListDeviceTransactionsWithResponse(ctx, id, nil)
	if us, ds := must(t, "user's transactions", byUser.JSON200, nil, err), must(t, "device's", byDevice.JSON200, nil, err2); len(us.Items) != 2 || us.Next == "" || len(ds.Items) != 2 || ds.Items[0].Kind != "authentication" || ds.Items[0].State != "COMPLETED" {
		t.Errorf("%+v %+v", us, ds)
	}
	locked, err := c.LockDeviceWithResponse(ctx, id)
	must(t, "lock", locked.JSON200, locked.ApplicationProblemJSONDefault, err)
	unlocked, err := c.UnlockDeviceWithResponse(ctx, id)
	must(t, "unlock", unlocked.JSON200, unlocked.ApplicationProblemJSONDefault, err)
	dead, err := c.DeactivateDeviceWithResponse(ctx, id)
	if d := must(t, "deactivate", dead.JSON200, dead.ApplicationProblemJSONDefault, err); d.State != "DEACTIVATED" {
		t.Errorf("%+v", d)
	}
	if d := r.Device(p); d.KK != nil {
		t.Error("the knowledge key of a deactivated device is still there")
	}
}

func apps(t *testing.T, c *client.ClientWithResponses) {
	t.Helper()
	ctx := t.Context()
	made, err := c.CreateAppWithResponse(ctx, nil, client.NewApp{Name: "Pay", Settings: client.AppSettings{FailureLimit: 4}})
	app := must(t, "create", made.JSON201, made.ApplicationProblemJSONDefault, err)
	one, err := c.GetAppWithResponse(ctx, app.ID)
	got := must(t, "get", one.JSON200, one.ApplicationProblemJSONDefault, err)
	if got.Settings.FailureLimit != 4 || got.Settings.CodeLength != 6 || got.Trusted {
		t.Errorf("%+v", got)
	}
	tag := one.HTTPResponse.Header.Get("ETag")
	changed, err := c.UpdateAppWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, app.ID, &client.UpdateAppParams{IfMatch: tag}, client.AppPatch{Settings: map[string]any{"failureLimit": 2, "blockFor": nil}})
	if a := must(t, "patch", changed.JSON200, changed.ApplicationProblemJSONDefault, err); a.Settings.FailureLimit != 2 || a.Version != 2 || a.Name != "Pay" {
		t.Errorf("%+v", a)
	}
	for want, match := range map[int]string{http.StatusPreconditionFailed: tag, http.StatusPreconditionRequired: ""} {
		again, err := c.UpdateAppWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, app.ID, &client.UpdateAppParams{IfMatch: match}, client.AppPatch{Name: "Other"})
		if err != nil || again.HTTPResponse.StatusCode != want || again.ApplicationProblemJSONDefault.Code != "version_conflict" {
			t.Errorf("If-Match %q: %+v, %v; want %d", match, again.ApplicationProblemJSONDefault, err, want)
		}
	}
	all, err := c.ListAppsWithResponse(ctx)
	if list := must(t, "list", all.JSON200, all.ApplicationProblemJSONDefault, err); len(list.Items) != 2 || list.Items[1].Name != "Pay" {
		t.Errorf("%+v", list)
	}
}

func events(t *testing.T, c *client.ClientWithResponses) {
	t.Helper()
	var told []string
	cursor := ""
	for {
		page, err := c.ListEventsWithResponse(t.Context(), &client.ListEventsParams{Cursor: cursor, Limit: 3})
		list := must(t, "events", page.JSON200, page.ApplicationProblemJSONDefault, err)
		for i, e := range list.Items {
			if i > 0 && e.At.Before(list.Items[i-1].At) {
				t.Errorf("%+v before %+v", list.Items[i-1], e)
			}
			told = append(told, e.Type+" "+e.Data["from"]+">"+e.Data["to"])
		}
		if list.Next == "" || list.Next == cursor {
			break
		}
		cursor = list.Next
	}
	all := strings.Join(told, "\n")
	for _, want := range []string{"user.state.change ACTIVE>LOCKED", "user.state.change LOCKED>ACTIVE", "user.state.change ACTIVE>DEACTIVATED", "device.state.change PENDING>ACTIVE",
		"device.added >", "device.state.change ACTIVE>LOCKED", "device.state.change LOCKED>ACTIVE", "device.state.change ACTIVE>DEACTIVATED"} {
		if !strings.Contains(all, want) {
			t.Errorf("no event %s in\n%s", want, all)
		}
	}
}

func operations(t *testing.T, r *rig.Rig, c *client.ClientWithResponses) {
	t.Helper()
	ctx := t.Context()
	u, p := r.Person()
	started, err := c.StartAuthenticationWithResponse(ctx, &client.StartAuthenticationParams{IdempotencyKey: "o-1"},
		client.NewOperation{UserID: u.ID, PreContext: client.Content{Content: "Log in to the terminal"}, ClientData: "till 7", ExpiresIn: 120})
	op := must(t, "authentication", started.JSON201, started.ApplicationProblemJSONDefault, err)
	if op.State != "PENDING" || op.Kind != "authentication" || op.ClientData != "till 7" || op.ExpiresAt.IsZero() || started.HTTPResponse.Header.Get("Location") != base+"/authentications/"+op.ID {
		t.Errorf("%+v", op)
	}
	w := r.Waiting(p)
	if w.Txn != op.ID || !strings.Contains(string(w.View), "Log in to the terminal") {
		t.Errorf("the phone shows %s", w.View)
	}
	r.Approve(p, "")
	got, err := c.GetAuthenticationWithResponse(ctx, op.ID, &client.GetAuthenticationParams{Wait: "2s"})
	if out := must(t, "status", got.JSON200, got.ApplicationProblemJSONDefault, err); out.State != "COMPLETED" || out.DeviceID != r.State(p).Device || len(out.Factors) != 2 || out.Acr != "urn:mobileid:acr:web" ||
		out.ViewHash == "" || out.DecidedAt.IsZero() || out.ClientData != "till 7" {
		t.Errorf("%+v", out)
	}
	end, err := c.CancelAuthenticationWithResponse(ctx, op.ID)
	if out := must(t, "cancel what is decided", end.JSON200, end.ApplicationProblemJSONDefault, err); out.State != "COMPLETED" {
		t.Errorf("%+v", out)
	}
	sign, err := c.StartSignatureWithResponse(ctx, nil, client.NewOperation{ExternalRef: u.ExternalRef, PreContext: client.Content{Content: "I agree."}})
	signed := must(t, "signature", sign.JSON201, sign.ApplicationProblemJSONDefault, err)
	r.Approve(p, "")
	done, err := c.GetSignatureWithResponse(ctx, signed.ID, nil)
	if out := must(t, "signature's status", done.JSON200, done.ApplicationProblemJSONDefault, err); out.State != "COMPLETED" || out.Kind != "signature" || out.DataHash == "" || out.Evidence.ID == "" {
		t.Errorf("%+v", out)
	}
	proven(t, r, c, must(t, "signature's status", done.JSON200, nil, err))
	next, err := c.StartSignatureWithResponse(ctx, nil, client.NewOperation{UserID: u.ID, PreContext: client.Content{Content: "I agree again."}})
	over, err2 := c.CancelSignatureWithResponse(ctx, must(t, "next", next.JSON201, next.ApplicationProblemJSONDefault, err).ID)
	if out := must(t, "cancel", over.JSON200, over.ApplicationProblemJSONDefault, err2); out.State != "CANCELLED" {
		t.Errorf("%+v", out)
	}
	if a, err := c.GetAuthenticationWithResponse(ctx, signed.ID, nil); err != nil || a.HTTPResponse.StatusCode != http.StatusNotFound {
		t.Errorf("a signature among authentications: %v %v", a, err)
	}
}

// proven holds a signature's evidence to the published keys and to its outcome.
func proven(t *testing.T, r *rig.Rig, c *client.ClientWithResponses, op client.Operation) {
	t.Helper()
	got, err := c.GetSignatureEvidenceWithResponse(t.Context(), op.ID)
	e := must(t, "evidence", got.JSON200, got.ApplicationProblemJSONDefault, err)
	keys, err := node.EvidenceKeys(t.Context(), r.Node.Keys)
	if err != nil {
		t.Fatal(err)
	}
	set, err := evidence.ParseKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	s, err := evidence.Verify(e.Evidence, set, evidence.Expect{Issuer: r.Issuer, Audience: op.ClientID})
	if err != nil || s.Txn != op.ID || s.JTI != op.Evidence.ID || evidence.Hash(e.Evidence) != op.Evidence.Sha256 || e.Timestamp != "" {
		t.Errorf("evidence %+v of %+v: %v", s, op, err)
	}
}

// D24: whatever is asked for, an answer holds nothing of a device's keys.
func TestD24_NoAnswerHoldsAnythingOfADevicesKeys(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	dev := r.Device(p)
	var jwk map[string]string
	if err := json.Unmarshal([]byte(dev.DSK), &jwk); err != nil {
		t.Fatal(err)
	}
	secrets := []string{jwk["x"], jwk["y"], dev.DSKThumb, string(dev.KK), string(dev.HandleSalt), string(dev.Chain.Head), string(dev.Chain.LastReply)}
	r.Clock.Advance(time.Minute)
	for _, path := range []string{"/devices/" + dev.ID, "/devices/" + dev.ID + "?detailed=true", "/devices", "/users/" + u.ID + "/devices", "/users/" + u.ID,
		"/users/" + u.ID + "/transactions", "/devices/" + dev.ID + "/transactions", "/events", "/registrations/" + dev.OperationID} {
		a := r.REST("GET", path, nil)
		if a.Status != http.StatusOK {
			t.Errorf("%s: %s", path, a)
		}
		for _, s := range secrets {
			if s != "" && strings.Contains(a.Body, s) {
				t.Errorf("%s tells %q", path, s)
			}
		}
	}
}
