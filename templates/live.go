package templates

import (
	"bytes"
	"context"

	"github.com/a-h/templ"
)

// Component is a page or a part of one.
type Component = templ.Component

// LiveEvent writes a live region as the server-sent event that live.js swaps in.
func LiveEvent(ctx context.Context, out *bytes.Buffer, region Component) error {
	var html bytes.Buffer
	if err := region.Render(ctx, &html); err != nil {
		return err
	}
	out.WriteString("event: live\n")
	for line := range bytes.Lines(html.Bytes()) {
		out.WriteString("data: ")
		out.Write(bytes.TrimRight(line, "\r\n"))
		out.WriteByte('\n')
	}
	out.WriteByte('\n')
	return nil
}
