package oauth_test

import (
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
)

// What a token allowed stands as long as the token does, without the token at hand:
// not once it is revoked, its registration is cancelled or narrowed, or it expires.
func TestWhatAnAccessTokenAllowedStands(t *testing.T) {
	for name, end := range map[string]func(*env, func(path string)){
		"nothing":    nil,
		"a restart":  func(e *env, _ func(string)) { e.restart() },
		"revocation": func(_ *env, tell func(string)) { tell("/oauth/revoke") },
		"expiry":     func(e *env, _ func(string)) { e.advance(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			e, c, id := clientEnv(t)
			token := e.issued(c, id)
			a, err := e.bearer(token)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(token, string(a.Ref)) || strings.Contains(string(a.Ref), token) || len(a.Ref) != 96 {
				t.Errorf("the reference has the token in it, or is none: %q", a.Ref)
			}

			if end != nil {
				end(e, func(path string) { e.tell(path, c, id, token) })
			}
			want := end == nil || name == "a restart"
			if ok, err := oauth.Stands(t.Context(), e.svc, a.Ref); err != nil || ok != want {
				t.Errorf("%v, %v, want %v", ok, err, want)
			}
		})
	}

	e, c, id := clientEnv(t)
	a, err := e.bearer(e.issued(c, id))
	if err != nil {
		t.Fatal(err)
	}
	if w := e.register(c, c.Statement(e.now()).With("grant_types", []string{})); w.status != 200 {
		t.Fatalf("%d %s", w.status, w.body)
	}

	for _, ref := range []oauth.Ref{
		a.Ref, "", "00", oauth.Ref(strings.Repeat("0", 96)), oauth.Ref(strings.Repeat("x", 96)),
	} {
		if ok, err := oauth.Stands(t.Context(), e.svc, ref); err != nil || ok {
			t.Errorf("%q: %v, %v", ref, ok, err)
		}
	}
}
