package callback

import (
	"context"
	"net/http"

	"mobileid/internal/egress"
)

// post sends by the one way out.
func post(ctx context.Context, out *egress.Client, address string, header http.Header, body []byte) (int, error) {
	a, err := out.Send(ctx, egress.Request{Method: http.MethodPost, URL: address, Header: header, Body: body})
	return a.Status, err
}
