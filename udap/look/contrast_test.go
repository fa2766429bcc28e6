package look

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	rootBlock = regexp.MustCompile(`(?s):root \{(.*?)\}`)
	property  = regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{3,6})\b`)
)

// palettes returns the colours of each scheme by name: light, dark and print.
func palettes(t *testing.T) map[string]map[string]string {
	t.Helper()
	blocks := rootBlock.FindAllStringSubmatch(source, -1)
	names := []string{"light", "dark", "print"}
	if len(blocks) != len(names) {
		t.Fatalf("the style sheet has %d palettes, want %v", len(blocks), names)
	}

	all := map[string]map[string]string{}
	for i, b := range blocks {
		colours := map[string]string{}
		for _, p := range property.FindAllStringSubmatch(b[1], -1) {
			colours[p[1]] = p[2]
		}
		all[names[i]] = colours
	}

	return all
}

// TestTextHasContrast holds each pair of text and ground to a contrast of 4.5
// (WCAG 2.2, 1.4.3 level AA), and edges of controls to 3 (1.4.11).
func TestTextHasContrast(t *testing.T) {
	texts := []string{"ink", "soft", "accent", "accent-dark", "good", "bad", "warn", "none"}
	grounds := []string{"ground", "card", "wash", "good-wash", "bad-wash", "warn-wash", "none-wash"}
	for scheme, colours := range palettes(t) {
		for _, ground := range grounds {
			for _, text := range texts {
				atLeast(t, scheme, colours, text, ground, 4.5)
			}
		}

		if scheme == "print" {
			continue // has no controls
		}
		atLeast(t, scheme, colours, "on-accent", "accent", 4.5)
		atLeast(t, scheme, colours, "on-accent", "accent-dark", 4.5)
		atLeast(t, scheme, colours, "field", "card", 3)
	}
}

func atLeast(t *testing.T, scheme string, colours map[string]string, text, ground string, least float64) {
	t.Helper()
	a, b := colours[text], colours[ground]
	if a == "" || b == "" {
		t.Errorf("%s has no colour %s or %s", scheme, text, ground)
		return
	}

	light, dark := luminance(t, a), luminance(t, b)
	if light < dark {
		light, dark = dark, light
	}
	if got := (light + .05) / (dark + .05); got < least {
		t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", scheme, text, ground, got, least)
	}
}

// luminance is the relative luminance of a colour (WCAG 2.2).
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	hex := strings.TrimPrefix(colour, "#")
	if len(hex) == 3 {
		hex = fmt.Sprintf("%[1]c%[1]c%[2]c%[2]c%[3]c%[3]c", hex[0], hex[1], hex[2])
	}

	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		t.Fatalf("%q is no colour", colour)
	}

	linear := func(shift uint) float64 {
		v := float64(n>>shift&0xff) / 255
		if v <= .04045 {
			return v / 12.92
		}
		return math.Pow((v+.055)/1.055, 2.4)
	}
	return .2126*linear(16) + .7152*linear(8) + .0722*linear(0)
}
