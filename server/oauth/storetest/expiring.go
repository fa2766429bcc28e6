package storetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// ExpiringStore is a store that finds registrations by when their certificates expire.
type ExpiringStore interface {
	oauth.Store
	// Expiring calls visit for each registration whose certificate expires before a
	// time, the earliest first, until it returns false.
	Expiring(ctx context.Context, before time.Time, visit func(*oauth.Registration) bool) error
	// CountExpiring returns how many there are.
	CountExpiring(ctx context.Context, before time.Time) (int, error)
}

// TestExpiring: registrations whose certificates expire soon are found by that alone, as
// they come, change and go, and after a restart. reopen closes the store and opens it
// again; https://c.test/1 is left in it.
func TestExpiring(t *testing.T, s ExpiringStore, reopen func() ExpiringStore) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	put := func(i, days int) {
		t.Helper()
		r := registration("urn:a", fmt.Sprint("https://c.test/", i), "x")
		r.ID = trace.ClientID(fmt.Sprint("c", i))
		r.Leaf = leaf(t, key, Start.AddDate(0, 0, days))
		register(t, s, r)
	}
	want := func(days int, ids ...trace.ClientID) {
		t.Helper()
		var got []trace.ClientID
		before := Start.AddDate(0, 0, days)
		err := s.Expiring(t.Context(), before, func(r *oauth.Registration) bool {
			got = append(got, r.ID)
			return true
		})
		count, countErr := s.CountExpiring(t.Context(), before)
		if err != nil || countErr != nil || !slices.Equal(got, ids) || count != len(ids) {
			t.Errorf("within %d days: %v and %d, want %v: %v, %v", days, got, count, ids, err, countErr)
		}
	}

	put(1, 100)
	put(2, 10)
	put(3, 1)
	want(30, "c3", "c2")
	want(365, "c3", "c2", "c1")

	seen := 0
	if err := s.Expiring(t.Context(), Start.AddDate(1, 0, 0), func(*oauth.Registration) bool {
		seen++
		return false
	}); err != nil || seen != 1 {
		t.Errorf("%d were seen by one who wants no more: %v", seen, err)
	}

	put(3, 200) // again, with another certificate
	want(30, "c2")
	must(s.Cancel(t.Context(), fresh("x", Start), "urn:a", "https://c.test/2"))(t)
	want(30)

	s = reopen()
	want(365, "c1", "c3")
}

func leaf(t *testing.T, key *ecdsa.PrivateKey, expires time.Time) []byte {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     expires,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
