package static

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// tokens reads the colours of one scheme from the style sheets: those of base,
// and over them those of the shop where it has its own.
func tokens(t *testing.T, dark, shop bool) map[string]string {
	t.Helper()
	colours := map[string]string{}
	read := func(name, selector string, dark bool) {
		text := string(load().byName[name].plain)
		light, night, found := strings.Cut(text, "@media (prefers-color-scheme: dark)")
		if !found {
			t.Fatalf("%s has no dark scheme", name)
		}
		if dark {
			light = night
		}
		_, block, found := strings.Cut(light, selector+" {")
		if !found {
			t.Fatalf("%s has no %s", name, selector)
		}
		block, _, _ = strings.Cut(block, "}")
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(block, -1) {
			colours[m[1]] = m[2]
		}
	}
	read("base.css", ":root", false)
	if dark {
		read("base.css", ":root", true)
	}
	if shop {
		read("shop.css", ".shop", dark)
	}
	return colours
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	channel := func(s string) float64 {
		n, err := strconv.ParseUint(s, 16, 8)
		if err != nil {
			t.Fatalf("colour %q: %v", hex, err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(hex[1:3]) + 0.7152*channel(hex[3:5]) + 0.0722*channel(hex[5:7])
}

func TestColoursKeepTheContrastOfWCAG22AA(t *testing.T) {
	pairs := []struct {
		ink, ground string
		least       float64 // 4.5 for text (1.4.3), 3 for the edge of a control (1.4.11)
	}{
		{"ink", "ground", 4.5}, {"ink", "surface", 4.5}, {"ink", "sunk", 4.5}, {"ink", "tint", 4.5}, {"ink", "bad-tint", 4.5},
		{"muted", "ground", 4.5}, {"muted", "surface", 4.5}, {"muted", "sunk", 4.5},
		{"accent", "ground", 4.5}, {"accent", "surface", 4.5}, {"accent", "sunk", 4.5}, {"accent", "tint", 4.5},
		{"accent-ink", "accent", 4.5}, {"accent-ink", "accent-strong", 4.5},
		{"good", "good-tint", 4.5}, {"bad", "bad-tint", 4.5}, {"bad", "surface", 4.5}, {"warn", "warn-tint", 4.5}, {"warn", "surface", 4.5},
		{"edge", "surface", 3}, {"edge", "sunk", 3}, {"edge", "ground", 3},
	}
	for _, dark := range []bool{false, true} {
		for _, shop := range []bool{false, true} {
			t.Run(fmt.Sprintf("dark %v, shop %v", dark, shop), func(t *testing.T) {
				colours := tokens(t, dark, shop)
				for _, p := range pairs {
					a, b := luminance(t, colours[p.ink]), luminance(t, colours[p.ground])
					if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < p.least {
						t.Errorf("--%s on --%s is %.2f, less than %.1f", p.ink, p.ground, ratio, p.least)
					}
				}
			})
		}
	}
}
