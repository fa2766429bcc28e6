package bolt_test

import (
	"path/filepath"
	"testing"

	"fhirdest.example/server/bolt"
	"fhirdest.example/server/tiered"
	"fhirdest.example/server/tiered/tieredtest"
)

// trust.bolt keeps the trips of people to identity providers.
// Covers: S1-254, S1-270
func TestTrips(t *testing.T) {
	paths := map[*testing.T]string{}
	tieredtest.TestStore(t, func(t *testing.T) (tiered.Store, func()) {
		if paths[t] == "" {
			paths[t] = filepath.Join(t.TempDir(), "trust.bolt")
		}
		s, err := bolt.OpenTrust(paths[t], bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}

		return bolt.Trips{Trust: s}, func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
