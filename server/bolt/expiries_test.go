package bolt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/udap/trace"
)

func leaf(t *testing.T, key *ecdsa.PrivateKey, expires time.Time) []byte {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: expires}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Registrations whose certificates expire soon are found by that alone, as they
// come, change and go, and after a restart.
func TestExpiringRegistrations(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now, path := storetest.Start, filepath.Join(t.TempDir(), "trust.bolt")
	s := openTrust(t, path)
	defer func() { s.Close() }()

	n := 0
	register := func(i, days int) {
		t.Helper()
		r := oauth.Registration{
			ID:        trace.ClientID(fmt.Sprint("c", i)),
			Community: "urn:a",
			Client:    trace.ClientURI(fmt.Sprint("https://c.test/", i)),
			Leaf:      leaf(t, key, now.AddDate(0, 0, days)),
		}

		n++
		if _, _, err := s.Register(t.Context(), numbered(n, now), r); err != nil {
			t.Fatal(err)
		}
	}

	want := func(days int, ids ...trace.ClientID) {
		t.Helper()
		var got []trace.ClientID
		before := now.AddDate(0, 0, days)
		err := s.Expiring(t.Context(), before, func(r *oauth.Registration) bool {
			got = append(got, r.ID)
			return true
		})
		count, countErr := s.CountExpiring(t.Context(), before)
		if err != nil || countErr != nil || !slices.Equal(got, ids) || count != len(ids) {
			t.Errorf("within %d days: %v and %d, want %v: %v, %v", days, got, count, ids, err, countErr)
		}
	}

	register(1, 100)
	register(2, 10)
	register(3, 1)
	want(30, "c3", "c2")
	want(365, "c3", "c2", "c1")

	register(3, 200) // again, with another certificate
	want(30, "c2")
	if _, err := s.Cancel(t.Context(), numbered(100, now), "urn:a", "https://c.test/2"); err != nil {
		t.Fatal(err)
	}
	want(30)

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTrust(t, path)
	want(365, "c1", "c3")
	overwrite(t, s.db, "registrations", registrationKey("urn:a", "https://c.test/1"))
	err = s.Expiring(t.Context(), now.AddDate(1, 0, 0), func(*oauth.Registration) bool { return true })
	wantDamaged(t, err, "https://c.test/1")
}
