package bolt

import (
	"path/filepath"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
)

// A registration that cannot be read ends the list of those whose certificates expire
// with an error.
func TestExpiringRegistrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trust.bolt")
	s := openTrust(t, path)
	defer func() { s.Close() }()
	storetest.TestExpiring(t, s, func() storetest.ExpiringStore {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTrust(t, path)
		return s
	})

	overwrite(t, s.db, "registrations", registrationKey("urn:a", "https://c.test/1"))
	err := s.Expiring(t.Context(), storetest.Start.AddDate(1, 0, 0), func(*oauth.Registration) bool { return true })
	wantDamaged(t, err, "https://c.test/1")
}
