package web

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"time"

	"mobileid/flows"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
	"mobileid/internal/view"
	"mobileid/web/api"
)

// requestOf is what a backend asks, in the words of flows.
func requestOf(in *api.NewOperation, id string) (flows.Request, error) {
	out := flows.Request{ID: id, Hint: in.ExternalRef, DeviceID: in.DeviceID, Broadcast: in.Broadcast, Locales: in.Locales, AuthLevel: string(in.AuthLevel),
		MinACR: in.Acr, AppID: in.AppID, ClientData: in.ClientData, Initiation: string(in.Initiation), SendPush: in.SendPush, PushPayload: in.PushPayload, ExpiresIn: time.Duration(in.ExpiresIn) * time.Second}
	switch {
	case in.UserID == "" && in.ExternalRef == "":
		return out, fault.InField("/userId", "required", "userId or externalRef is required")
	case in.UserID != "" && in.ExternalRef != "":
		return out, fault.InField("/externalRef", "conflict", "userId and externalRef exclude each other")
	case in.UserID != "":
		out.Hint = "userId:" + in.UserID
	}
	for _, m := range in.AuthMethods {
		out.AuthMethods = append(out.AuthMethods, string(m))
	}
	out.Pre, out.Post = contentOf(in.PreContext), contentOf(in.PostContext)
	if len(in.AuthorizationDetails) > 0 {
		var err error
		out.Details, err = json.Marshal(in.AuthorizationDetails)
		return out, err
	}
	return out, nil
}

func contentOf(c api.Content) *view.Content {
	if c == (api.Content{}) {
		return nil
	}
	return &view.Content{Text: c.Content, Type: string(c.ContentType)}
}

func operationBody(o operation.Outcome) api.Operation {
	out := api.Operation{ID: o.OperationID, Kind: o.Kind, State: api.OperationState(o.State), UserID: o.UserID, DeviceID: o.DeviceID, ClientID: o.ClientID,
		Reason: o.Reason, Factors: o.Factors, Amr: o.AMR, Acr: o.ACR, ViewHash: o.ViewHash, DataHash: o.DataHash, Template: o.Tpl, Language: o.Lang,
		ClientData: o.ClientData, ExpiresAt: wireTime(o.ExpiresAt), Risk: riskOf(o.Risk)}
	if o.State.Terminal() {
		out.DecidedAt = wireTime(o.At)
	}
	if o.Evidence != nil {
		out.Evidence = api.EvidenceRef{ID: o.Evidence.ID, Sha256: o.Evidence.Hash}
	}
	return out
}

// started is the answer to a start: where the operation is, with what is told once.
func (s *rest1) started(ctx context.Context, kind string, got flows.Started, err error) (api.Operation, error) {
	if err != nil {
		return api.Operation{}, err
	}
	out, err := s.Flows.Status(ctx, callerOf(ctx).MerchantID, kind, got.OperationID, 0)
	body := operationBody(out)
	body.MatchCode, body.StartToken = got.MatchCode, got.StartToken
	return body, err
}

func (s *rest1) StartAuthentication(ctx context.Context, r api.StartAuthenticationRequestObject) (api.StartAuthenticationResponseObject, error) {
	at := callerOf(ctx)
	in, err := requestOf(r.Body, at.newID)
	if err != nil {
		return nil, err
	}
	got, err := s.Flows.StartAuthentication(ctx, at.Client, in)
	body, err := s.started(ctx, operation.KindAuthentication, got, err)
	return api.StartAuthentication201JSONResponse{Body: body, Headers: api.StartAuthentication201ResponseHeaders{Location: apiBase + "/authentications/" + body.ID}}, err
}

func (s *rest1) StartSignature(ctx context.Context, r api.StartSignatureRequestObject) (api.StartSignatureResponseObject, error) {
	at := callerOf(ctx)
	in, err := requestOf(r.Body, at.newID)
	if err != nil {
		return nil, err
	}
	got, err := s.Flows.StartSignature(ctx, at.Client, in)
	body, err := s.started(ctx, operation.KindSignature, got, err)
	return api.StartSignature201JSONResponse{Body: body, Headers: api.StartSignature201ResponseHeaders{Location: apiBase + "/signatures/" + body.ID}}, err
}

// status is where an operation is, held for up to ?wait= while it is open.
func (s *rest1) status(ctx context.Context, kind, id, waitText string) (api.OperationFoundJSONResponse, error) {
	wait, err := waitOf(waitText)
	if err != nil {
		return api.OperationFoundJSONResponse{}, err
	}
	out, err := s.Flows.Status(ctx, callerOf(ctx).MerchantID, kind, id, wait)
	return api.OperationFoundJSONResponse(operationBody(out)), err
}

func (s *rest1) cancel(ctx context.Context, kind, id string) (api.OperationFoundJSONResponse, error) {
	out, err := s.Flows.CancelOperation(ctx, callerOf(ctx).MerchantID, kind, id)
	return api.OperationFoundJSONResponse(operationBody(out)), err
}

func (s *rest1) GetAuthentication(ctx context.Context, r api.GetAuthenticationRequestObject) (api.GetAuthenticationResponseObject, error) {
	out, err := s.status(ctx, operation.KindAuthentication, r.ID, r.Params.Wait)
	return api.GetAuthentication200JSONResponse{OperationFoundJSONResponse: out}, err
}

func (s *rest1) GetSignature(ctx context.Context, r api.GetSignatureRequestObject) (api.GetSignatureResponseObject, error) {
	out, err := s.status(ctx, operation.KindSignature, r.ID, r.Params.Wait)
	return api.GetSignature200JSONResponse{OperationFoundJSONResponse: out}, err
}

func (s *rest1) GetSignatureEvidence(ctx context.Context, r api.GetSignatureEvidenceRequestObject) (api.GetSignatureEvidenceResponseObject, error) {
	proof, err := s.Flows.Operations.Evidence(ctx, callerOf(ctx).MerchantID, r.ID)
	return api.GetSignatureEvidence200JSONResponse{Evidence: proof.Token, Timestamp: base64.StdEncoding.EncodeToString(proof.Timestamp)}, err
}

func (s *rest1) CancelAuthentication(ctx context.Context, r api.CancelAuthenticationRequestObject) (api.CancelAuthenticationResponseObject, error) {
	out, err := s.cancel(ctx, operation.KindAuthentication, r.ID)
	return api.CancelAuthentication200JSONResponse{OperationFoundJSONResponse: out}, err
}

func (s *rest1) CancelSignature(ctx context.Context, r api.CancelSignatureRequestObject) (api.CancelSignatureResponseObject, error) {
	out, err := s.cancel(ctx, operation.KindSignature, r.ID)
	return api.CancelSignature200JSONResponse{OperationFoundJSONResponse: out}, err
}
