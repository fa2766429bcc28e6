package bolt

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
)

// jwt is the use of a JWT that lives five minutes from iat, under a clock skew.
func jwt(jti string, iat, now time.Time, skew time.Duration) oauth.Spend {
	exp := iat.Add(5 * time.Minute)
	return oauth.Spend{
		Community: "urn:a",
		Issuer:    "iss",
		JTI:       jti,
		Since:     iat.Add(-skew),
		Until:     exp.Add(skew),
		Expires:   exp,
		Endpoint:  "token",
		Now:       now,
	}
}

// A used jti counts as used as long as the present skew says, whatever it was when
// it was used, and is free again afterwards; a restart changes nothing.
func TestUsedJTIUnderAnotherSkew(t *testing.T) {
	const second, minute = time.Second, time.Minute
	now := storetest.Start
	for _, row := range []struct {
		name             string
		used, again      time.Duration // skew, at first and then
		after            time.Duration // iat, when it is sent again
		sweeps, replayed bool
	}{
		{"at once", minute, minute, second, false, true},
		{"skew lengthened, before its old end", minute, 5 * minute, 5*minute + 30*second, true, true},
		{"skew lengthened, past its old end", minute, 5 * minute, 8 * minute, true, true},
		{"none at first, the longest then", 0, 5 * minute, 9 * minute, true, true},
		{"skew shortened, before its new end", 5 * minute, minute, 5*minute + 30*second, true, true},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(row.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "trust.bolt")
				s := openTrust(t, path)
				defer func() { s.Close() }()

				if err := s.Spend(t.Context(), jwt("one", now, now, row.used)); err != nil {
					t.Fatal(err)
				}
				if row.sweeps {
					at := now.Add(row.after)
					if err := s.Spend(t.Context(), jwt("sweep", at, at, row.again)); err != nil {
						t.Fatal(err)
					}
				}

				if restart {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = openTrust(t, path)
				}

				err := s.Spend(t.Context(), jwt("one", now, now.Add(row.after), row.again))
				if !errors.As(err, new(*oauth.Replayed)) {
					t.Errorf("sent again: %v", err)
				}
			})
		}
	}

	t.Run("free again", func(t *testing.T) {
		s := openTrust(t, filepath.Join(t.TempDir(), "trust.bolt"))
		defer s.Close()
		if err := s.Spend(t.Context(), jwt("one", now, now, 5*minute)); err != nil {
			t.Fatal(err)
		}
		later := now.Add(7*minute + second) // past exp and today's skew, not past the longest
		if err := s.Spend(t.Context(), jwt("one", later, later, minute)); err != nil {
			t.Errorf("another JWT with a jti that is free again: %v", err)
		}
	})
}

// After the clock was ahead and was set back nothing can be told apart: that is an
// alarm, and no verdict. The operator has the present time accepted, and what was
// used before stays used.
func TestClockWasAhead(t *testing.T) {
	now, data := storetest.Start, t.TempDir()
	path := filepath.Join(data, "trust.bolt")
	s := openTrust(t, path)
	used := jwt("used", now, now, time.Minute)
	ahead := now.Add(24 * time.Hour)
	if err := errors.Join(
		s.Spend(t.Context(), used),
		s.Spend(t.Context(), jwt("ahead", ahead, ahead, time.Minute)),
	); err != nil {
		t.Fatal(err)
	}

	later := now.Add(2 * time.Minute)
	fresh := func(jti string) oauth.Spend { return jwt(jti, later, later, time.Minute) }
	if err := s.Spend(t.Context(), fresh("a")); !errors.Is(err, oauth.ErrSwept) {
		t.Errorf("after the clock was set back: %v", err)
	}
	if h := strings.Join(s.Health(), "\n"); !strings.Contains(h, "was ahead") || !strings.Contains(h, "accept-time") ||
		!strings.Contains(h, "2027-01-16T") {
		t.Errorf("alarms: %q", h)
	}

	if _, err := AcceptTime(data, later); !errors.Is(err, ErrInUse) {
		t.Errorf("while the server runs: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	until, err := AcceptTime(data, later)
	if err != nil || until.Before(ahead.Add(-2*time.Minute)) {
		t.Fatalf("accepted, until %s: %v", until, err)
	}
	s = openTrust(t, path)
	if err := s.Spend(t.Context(), used); !errors.Is(err, oauth.ErrRestored) {
		t.Errorf("used before the clock was ahead: %v", err)
	}

	soon := later.Add(time.Minute + time.Second)
	if err := s.Spend(t.Context(), jwt("b", soon, soon, time.Minute)); err != nil || len(s.Health()) > 0 {
		t.Errorf("a new JWT: %v, alarms %q", err, s.Health())
	}
	if err := s.Spend(t.Context(), jwt("ahead", ahead, soon, time.Minute)); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("used while the clock was ahead: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if until, err := AcceptTime(data, soon); err != nil || !until.IsZero() {
		t.Errorf("with nothing to accept: %s, %v", until, err)
	}
	if _, err := AcceptTime(t.TempDir(), soon); err == nil {
		t.Error("accepted for a file that is not there")
	}
}
