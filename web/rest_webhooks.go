package web

import (
	"context"
	"time"

	"mobileid/internal/callback"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/web/api"
)

// webhookBody is an endpoint as its merchant sees it; secret is "" but where it is
// made.
func webhookBody(e callback.Endpoint, secret string) api.Webhook {
	out := api.Webhook{ID: e.ID, URL: e.URL, Events: []string{}, State: api.WebhookState(e.State), Secret: secret, Failures: int(e.Failures),
		CreatedAt: wireTime(e.CreatedAt), Version: int(e.Version)}
	for _, t := range e.Events {
		if t != db.AllEvents {
			out.Events = append(out.Events, t)
		}
	}
	if e.RestsUntil != nil {
		out.RestsUntil = wireTime(*e.RestsUntil)
	}
	return out
}

func webhookFound(e callback.Endpoint, secret string) api.WebhookFoundJSONResponse {
	return api.WebhookFoundJSONResponse{Body: webhookBody(e, secret), Headers: api.WebhookFoundResponseHeaders{ETag: etag(e.Version)}}
}

// eventTypes are those of the contract in the words of callback.
func eventTypes(in api.WebhookEvents) []string {
	out := make([]string, 0, len(in))
	for _, t := range in {
		out = append(out, string(t))
	}
	return out
}

func (s *rest1) CreateWebhook(ctx context.Context, r api.CreateWebhookRequestObject) (api.CreateWebhookResponseObject, error) {
	e, secret, err := s.Webhooks.Create(ctx, callerOf(ctx).MerchantID, r.Body.URL, eventTypes(r.Body.Events))
	return api.CreateWebhook201JSONResponse{Body: webhookBody(e, secret),
		Headers: api.CreateWebhook201ResponseHeaders{ETag: etag(e.Version), Location: apiBase + "/webhooks/" + e.ID}}, err
}

func (s *rest1) ListWebhooks(ctx context.Context, _ api.ListWebhooksRequestObject) (api.ListWebhooksResponseObject, error) {
	out := api.ListWebhooks200JSONResponse{Items: []api.Webhook{}}
	all, err := s.Webhooks.List(ctx, callerOf(ctx).MerchantID)
	for _, e := range all {
		out.Items = append(out.Items, webhookBody(e, ""))
	}
	return out, err
}

func (s *rest1) GetWebhook(ctx context.Context, r api.GetWebhookRequestObject) (api.GetWebhookResponseObject, error) {
	e, err := s.Webhooks.Get(ctx, callerOf(ctx).MerchantID, r.ID)
	return api.GetWebhook200JSONResponse{WebhookFoundJSONResponse: webhookFound(e, "")}, err
}

func (s *rest1) UpdateWebhook(ctx context.Context, r api.UpdateWebhookRequestObject) (api.UpdateWebhookResponseObject, error) {
	at, in := callerOf(ctx), r.Body
	if _, err := s.Webhooks.Get(ctx, at.MerchantID, r.ID); err != nil {
		return nil, err
	}
	version, err := versionOf(r.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, fault.Wrap(fault.VersionConflict, "If-Match with the ETag that was read is required", errNoVersion)
	}
	change := callback.Change{Version: version}
	if _, given := at.patch["url"]; given {
		change.URL = &in.URL
	}
	if _, given := at.patch["events"]; given {
		types := eventTypes(in.Events)
		change.Events = &types
	}
	if _, given := at.patch["state"]; given {
		on := in.State == api.WebhookState(db.WebhookEnabled)
		change.Enabled = &on
	}
	e, err := s.Webhooks.Update(ctx, at.MerchantID, r.ID, change)
	return api.UpdateWebhook200JSONResponse{WebhookFoundJSONResponse: webhookFound(e, "")}, err
}

func (s *rest1) DeleteWebhook(ctx context.Context, r api.DeleteWebhookRequestObject) (api.DeleteWebhookResponseObject, error) {
	return api.DeleteWebhook204Response{}, s.Webhooks.Delete(ctx, callerOf(ctx).MerchantID, r.ID)
}

func (s *rest1) RotateWebhookSecret(ctx context.Context, r api.RotateWebhookSecretRequestObject) (api.RotateWebhookSecretResponseObject, error) {
	e, secret, err := s.Webhooks.RotateSecret(ctx, callerOf(ctx).MerchantID, r.ID, time.Duration(r.Body.Overlap)*time.Second)
	return api.RotateWebhookSecret200JSONResponse{WebhookFoundJSONResponse: webhookFound(e, secret)}, err
}

func (s *rest1) TestWebhook(ctx context.Context, r api.TestWebhookRequestObject) (api.TestWebhookResponseObject, error) {
	id, err := s.Webhooks.SendTest(ctx, callerOf(ctx).MerchantID, r.ID)
	return api.TestWebhook202JSONResponse{EventID: id}, err
}

func (s *rest1) ListWebhookDeliveries(ctx context.Context, r api.ListWebhookDeliveriesRequestObject) (api.ListWebhookDeliveriesResponseObject, error) {
	at, q := callerOf(ctx), r.Params
	of := []string{"deliveries", at.MerchantID, r.ID}
	after, limit, err := s.pageOf(q.Cursor, db.After{}, q.Limit, of...)
	if err != nil {
		return nil, err
	}
	var behind *callback.Delivery
	if q.Cursor != "" {
		behind = &callback.Delivery{CreatedAt: time.UnixMilli(after.At), EventID: after.ID}
	}
	all, err := s.Webhooks.Deliveries(ctx, at.MerchantID, r.ID, behind, limit+1)
	if err != nil {
		return nil, err
	}
	all, more := cut(all, limit)
	out := api.ListWebhookDeliveries200JSONResponse{Items: []api.Delivery{}}
	for _, d := range all {
		item := api.Delivery{EventID: d.EventID, Type: d.Type, State: d.State, Attempts: int(d.Attempts), Status: int(d.Status), Error: d.Error,
			CreatedAt: wireTime(d.CreatedAt), ExpiresAt: wireTime(d.ExpiresAt)}
		if d.TriedAt != nil {
			item.TriedAt = wireTime(*d.TriedAt)
		}
		if d.NextAt != nil {
			item.NextAt = wireTime(*d.NextAt)
		}
		out.Items = append(out.Items, item)
	}
	if more {
		last := all[len(all)-1]
		out.Next = s.cursor(last.CreatedAt, last.EventID, of...)
	}
	return out, nil
}

func (s *rest1) ResendWebhookEvent(ctx context.Context, r api.ResendWebhookEventRequestObject) (api.ResendWebhookEventResponseObject, error) {
	return api.ResendWebhookEvent202JSONResponse{EventID: r.EventID}, s.Webhooks.Resend(ctx, callerOf(ctx).MerchantID, r.ID, r.EventID)
}
