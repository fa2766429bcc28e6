package postgres_test

import (
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// openTrustOf opens the registrations of a database.
func openTrustOf(t *testing.T, c postgres.Config) *postgres.Trust {
	t.Helper()
	s, err := postgres.OpenTrust(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // never fails
	return s
}

// afterRestore returns a Spend that was made after a restore.
func afterRestore(restored time.Time, jti string) oauth.Spend {
	s := spent(jti)
	s.Since = restored.Add(time.Second)
	s.Until = restored.Add(5 * time.Minute)
	s.Now = s.Since
	return s
}

// A destination that was cut off while the database was restored, and that goes on
// afterwards, uses nothing that it had in memory before.
func TestRestoreIsSeenByWhoWasCutOff(t *testing.T) {
	c := postgres.Config{
		URL:  postgrestest.Empty(t),
		Name: "east",
	}
	now := storetest.Start.Add(2 * time.Minute)
	first := boltBackup(t)
	restored(t, c, first, now)

	t.Run("registrations", func(t *testing.T) {
		cut, other := openTrustOf(t, c), openTrustOf(t, c)
		if r, err := cut.Client(t.Context(), "c7"); err != nil || r == nil {
			t.Fatalf("%+v, %v", r, err)
		}

		_, _, err := other.Register(t.Context(), afterRestore(now, "less"), oauth.Registration{
			Community: "urn:a",
			Client:    "https://c.test/7",
			Statement: "less",
		})
		if err != nil {
			t.Fatal(err)
		}
		restored(t, c, databaseBackup(t, c), now.Add(time.Minute))
		if r, err := cut.Client(t.Context(), "c7"); err != nil || r == nil || r.Statement != "less" {
			t.Errorf("after the restore: %+v, %v", r, err)
		}
	})

	t.Run("resources", func(t *testing.T) {
		cut := openResources(t, c)
		t.Cleanup(func() { _ = cut.Close() }) // never fails
		change(t, cut, "x1", 2)
		if v := currentVersion(t, cut, "x1"); v != 2 {
			t.Fatalf("version %d", v)
		}

		restored(t, c, first, now.Add(2*time.Minute))
		other := openResources(t, c)
		t.Cleanup(func() { _ = other.Close() }) // never fails
		change(t, other, "x3", 2)
		if v := currentVersion(t, cut, "x1"); v != 1 {
			t.Errorf("after the restore: version %d", v)
		}
	})
}

// change stores the next version of an observation.
func change(t *testing.T, s fhir.Store, id string, version uint64) {
	t.Helper()
	err := s.Update(t.Context(), func(c fhir.Change) error {
		doc, _, err := c.Lookup(t.Context(), "Observation", id)
		if err != nil {
			return err
		}
		_, err = c.Put(t.Context(), fhirtest.Entry(t, doc, "Observation", id, version, "final"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// currentVersion returns that of an observation, read by its name.
func currentVersion(t *testing.T, s fhir.Store, id string) (version uint64) {
	t.Helper()
	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		doc, _, err := sn.Lookup(t.Context(), "Observation", id)
		if err != nil {
			return err
		}
		e, _, err := sn.Entry(t.Context(), doc)
		version = e.Version
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return version
}
