package udap_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

func decode64(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// FuzzAccepted holds this: what is accepted is byte for byte what an honest
// client signed, and its segments encode again to themselves. Any other text
// that is accepted is a way to say one thing with two signatures.
func FuzzAccepted(f *testing.F) {
	w := udaptest.New(f, "p256")
	c := w.Client(f, w.A.Int, udaptest.Client1URI, nil)
	good := c.Sign(f, c.Statement(w.Now))
	honest := strings.Split(good, ".")
	v := w.Verifier()
	f.Add(good)
	f.Add(good + "=")
	f.Add(strings.Replace(good, ".", "..", 1))

	f.Add(honest[0] + "." + honest[1] + ".")
	f.Add(`{"payload":"` + honest[1] + `"}`)
	f.Fuzz(func(t *testing.T, compact string) {
		tr := trace.NewTrace("register", w.Now)
		s, err := v.Statement(ctx, compact, udap.Expect{Now: w.Now, Audience: udaptest.Registration}, tr)
		if err != nil {
			if tr.Code == "" || len(tr.Steps) == 0 {
				t.Fatalf("refused without a trace: %v", err)
			}
			return
		}

		parts := strings.Split(compact, ".")
		if len(parts) != 3 || !slices.Equal(parts[:2], honest[:2]) || s.Raw != compact {
			t.Fatalf("accepted what nobody signed: %s", compact)
		}

		for _, p := range parts {
			b, err := decode64(p)
			if err != nil || base64.RawURLEncoding.EncodeToString(b) != p {
				t.Fatalf("accepted a segment of two spellings: %s", p)
			}
		}
	})
}

// FuzzPayload signs whatever the fuzzer makes: no payload may make a panic, and
// an accepted one has the claims that were judged.
func FuzzPayload(f *testing.F) {
	w := udaptest.New(f, "p256")
	c := w.Client(f, w.A.Int, udaptest.Client1URI, nil)
	v := w.Verifier()
	f.Add(c.Statement(w.Now).JSON(f))
	f.Add(c.Interactive(w.Now).JSON(f))
	f.Add([]byte(`{"iss":1,"iss":2}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := v.Statement(ctx, signer(c).Sign(t, udaptest.Header("ES256", c.Chain...), payload), udap.Expect{
			Now:      w.Now,
			Audience: udaptest.Registration,
		}, nil)
		if err == nil && (s.Client != udaptest.Client1URI || s.JTI == "" || s.Expires.Sub(s.IssuedAt) > 300e9) {
			t.Fatalf("accepted as %+v", s)
		}
	})
}

// FuzzRedirectURI: an accepted redirect URI is https, has a host, and no part
// that browsers and servers read differently.
func FuzzRedirectURI(f *testing.F) {
	w := udaptest.New(f, "p256")
	c := w.Client(f, w.A.Int, udaptest.Client1URI, nil)
	v := w.Verifier()

	for _, u := range []string{
		"https://client1.test/cb", "https://a@b/", "https://a/%2e%2e/", "https://a:0/",
		"https:///",
	} {
		f.Add(u)
	}

	f.Fuzz(func(t *testing.T, uri string) {
		_, err := v.Statement(ctx, c.Sign(t, c.Interactive(w.Now).With("redirect_uris", []string{uri})), udap.Expect{
			Now:      w.Now,
			Audience: udaptest.Registration,
		}, nil)
		if err == nil && (!strings.HasPrefix(uri, "https://") || strings.ContainsAny(uri, "@#\\* \t\r\n") &&
			!strings.Contains(uri, "?") || strings.ContainsAny(uri, "#\\ \t\r\n")) {
			t.Fatalf("accepted %q", uri)
		}
	})
}
