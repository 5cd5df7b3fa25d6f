package templates

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/a-h/templ"
	"rsc.io/qr"
)

// quiet is the white border a reader needs, in modules (ISO/IEC 18004).
const quiet = 4

// QR draws text as a QR code, as an inline SVG of one path that needs neither a
// style attribute nor a further request. It fails when the text does not fit.
// The picture is always dark on white, also on a dark page.
func QR(text string) (templ.Component, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, fmt.Errorf("QR code of %d bytes: %w", len(text), err)
	}
	side := strconv.Itoa(code.Size + 2*quiet)
	svg := `<svg class="qr" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ` + side + ` ` + side +
		`" shape-rendering="crispEdges" aria-hidden="true" focusable="false"><rect width="` + side +
		`" height="` + side + `" fill="#fff"></rect><path fill="#000" d="` + modules(code) + `"></path></svg>`
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, svg)
		return err
	}), nil
}

// modules is the path of the black modules, each run of a row one rectangle.
func modules(code *qr.Code) string {
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if run := x - from; run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, run, run)
			}
		}
	}
	return b.String()
}
