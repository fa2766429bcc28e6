//go:build unix

package authority

import (
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"

	"fhirdest.example/certs"
)

// Whoever issues and revokes at the same time, nothing of it is forgotten.
func TestRevocationsAtTheSameTime(t *testing.T) {
	now, prefix := time.Now(), filepath.Join(t.TempDir(), "a")
	if _, err := Create(prefix, About{URI: "urn:a", Name: "A"}, certs.P256, now); err != nil {
		t.Fatal(err)
	}

	const members = 8
	errs := make(chan error, members)
	for range members {
		go func() { errs <- issueAndRevoke(prefix, now) }()
	}

	for range members {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}

	a, err := Open(prefix)
	if err != nil {
		t.Fatal(err)
	}
	_, list, err := a.CRLs()
	if err != nil {
		t.Fatal(err)
	}

	issued, err := a.Issued()
	if err != nil {
		t.Fatal(err)
	}
	if len(list.RevokedCertificateEntries) != members || len(issued) != members {
		t.Errorf("%d revoked and %d issued, want %d of each", len(list.RevokedCertificateEntries), len(issued), members)
	}
}

// issueAndRevoke is what two runs of the program do.
func issueAndRevoke(prefix string, now time.Time) error {
	a, err := Open(prefix)
	if err != nil {
		return err
	}

	key, err := certs.NewKey(certs.P256)
	if err != nil {
		return err
	}

	var leaf *x509.Certificate
	_, err = a.Issue(certs.Template{
		CommonName: "m",
		URIs:       []string{"https://m.example"},
		NotBefore:  now,
		NotAfter:   now.Add(time.Hour),
	}, key.Public(), func(chain []*x509.Certificate) error { leaf = chain[0]; return nil })
	if err != nil {
		return err
	}

	return a.Revoke(leaf.SerialNumber, true, 0, now)
}
