package templates_test

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mobileid/templates"
	"mobileid/templates/gallery"
)

// draw paints the SVG of a QR code as a browser does: each "M x y h n v1 h-n z"
// of its path is a row of n black squares.
func draw(t *testing.T, svg string) image.Image {
	t.Helper()
	const scale = 6
	var side int
	at := strings.Index(svg, "viewBox")
	if at < 0 {
		t.Fatal("no viewBox")
	}
	if _, err := fmt.Sscanf(svg[at:], `viewBox="0 0 %d`, &side); err != nil {
		t.Fatal(err)
	}
	img := image.NewGray(image.Rect(0, 0, side*scale, side*scale))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	runs := regexp.MustCompile(`M(\d+ \d+)h(\d+)v1h-\d+z`).FindAllStringSubmatch(svg, -1)
	for _, run := range runs {
		var x, y, n int
		if _, err := fmt.Sscan(run[1]+" "+run[2], &x, &y, &n); err != nil {
			t.Fatal(err)
		}
		for py := y * scale; py < (y+1)*scale; py++ {
			for px := x * scale; px < (x+n)*scale; px++ {
				img.Set(px, py, color.Black)
			}
		}
	}
	return img
}

func TestAReaderReadsTheQRCodeBack(t *testing.T) {
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Fatal("zbarimg (Debian: zbar-tools) is not installed: run make deps")
	}
	for _, text := range []string{gallery.Link, "x", strings.Repeat("0123456789", 60)} {
		code, err := templates.QR(text)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "code.png")
		file, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(file, draw(t, render(t, code))); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(zbarimg, "--raw", "--quiet", name).Output()
		if err != nil {
			t.Fatalf("%d bytes: %v", len(text), err)
		}
		if got := strings.TrimSuffix(string(out), "\n"); got != text {
			t.Errorf("read %q, want %q", got, text)
		}
	}
}

func TestATextThatDoesNotFitIsAnError(t *testing.T) {
	if _, err := templates.QR(strings.Repeat("x", 4000)); err == nil {
		t.Error("a QR code of 4000 bytes")
	}
}
