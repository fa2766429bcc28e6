package oauth_test

import (
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
)

// A refresh token has one spelling: a text that is accepted is what the server would
// write, and no other text with the same bytes changed is.
func FuzzRefreshToken(f *testing.F) {
	good := oauth.NewRefresh(oauth.GrantID(strings.Repeat("0f", 16)))
	f.Add(good, 0, byte(0))
	for i := range len(good) {
		f.Add(good, i, byte(1)<<(i%8))
	}
	f.Add("", 0, byte(0))
	f.Add(strings.Repeat("A", len(good)), 3, byte(1))

	f.Fuzz(func(t *testing.T, text string, at int, mask byte) {
		again, ok := oauth.ReadRefresh(text)
		if ok && again != text {
			t.Errorf("%q is accepted and written as %q", text, again)
		}
		if !ok || mask == 0 || at < 0 || at >= len(text) {
			return
		}

		changed := []byte(text)
		changed[at] ^= mask
		if _, ok := oauth.ReadRefresh(string(changed)); ok {
			t.Errorf("%q is accepted, and so is %q", text, changed)
		}
	})
}
