package main

import (
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/udaptest"
)

// publish signs a list of an authority with this number and puts it where the
// lists' server finds it.
func (a *attacker) publish(ca *certs.CA, name string, number int64, revoked ...*x509.Certificate) {
	a.t.Helper()
	tpl := certs.CRLTemplate{Number: number, ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		tpl.Revoked = append(tpl.Revoked, certs.RevokedEntry{Serial: c.SerialNumber, Time: time.Now(), Reason: 1})
	}
	der, err := ca.CRL(tpl)
	if err == nil {
		err = certs.WriteFile(filepath.Join(a.dir, name), der, certs.ModePublic)
	}

	if err != nil {
		a.t.Fatal(err)
	}
}

// fetched waits until the destination has fetched what a list's file now holds: until
// it asks for it twice, as it may have been under way.
func (a *attacker) fetched(name string) {
	a.t.Helper()
	asked := func() int {
		return strings.Count(mustRead(a.t, filepath.Join(a.dir, "community.log")), "path=/"+name+" ")
	}
	for before, end := asked(), time.Now().Add(time.Minute); asked() < before+2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("%s is not fetched again", name)
		}
	}
}

// within asks until the answer is as wanted, for as long as a new list may
// take to count.
func (a *attacker) within(name string, want int, ask func() answer) answer {
	a.t.Helper()
	r := ask()
	for end := time.Now().Add(time.Minute); r.status != want && time.Now().Before(end); r = ask() {
		time.Sleep(100 * time.Millisecond)
	}
	if r.status != want {
		a.t.Errorf("%s: %d %s, want %d", name, r.status, r.body, want)
	}
	return r
}

// A second issuing authority of the community, made by the tester from the
// root's key: what its list and the root's say counts within the refresh, and
// an older list undoes nothing, not even after a kill.
//
// Covers: case 068, case 069, case 070, case 072, D-13, D-15
func TestRevocationFromOutside(t *testing.T) {
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	root, err := certs.LoadCA(d.file("a-root.pem"), d.file("a-root.key"))
	if err != nil {
		t.Fatal(err)
	}
	place := func(name string) []string {
		return []string{strings.TrimSuffix(d.manifest.Communities[0].CRL, "a.crl") + name}
	}
	tpl := certs.Template{
		CommonName: "Second issuing",
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
		CRL:        place("a-root.crl"),
	}
	second, err := root.NewCA(tpl, udaptest.Key(t, certs.P384, 7))
	if err != nil {
		t.Fatal(err)
	}

	tpl.CommonName, tpl.CRL, tpl.URIs = "member", place("second.crl"), []string{"https://second.example/app"}
	key := udaptest.Key(t, certs.P256, 8)
	leaf, err := second.Issue(tpl, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := &udaptest.Client{URI: tpl.URIs[0], Key: key, Chain: second.Chain(leaf)}
	a.refused("no list yet", a.register("public", a.sign(c, a.statement(c))), "unapproved_software_statement",
		"chain.revocation")

	a.publish(second, "second.crl", 5)
	older := mustRead(t, d.file("second.crl"))
	id := a.within("with a list", http.StatusCreated, func() answer {
		return a.register("public", a.sign(c, a.statement(c)))
	}).text("client_id")
	token := func() answer { return a.form("public", "/token", a.params(a.sign(c, a.assertion(id)))) }
	issued := a.within("a token", http.StatusOK, token).text("access_token")

	a.publish(second, "second.crl", 6, leaf)
	r := a.within("revoked", http.StatusBadRequest, token)
	a.refused("revoked", r, "invalid_client", "chain.revocation")

	for _, want := range []string{
		"certificate 0 of the path", "CN=member", "decimal " + leaf.SerialNumber.String(),
		"list number 6 from " + tpl.CRL[0], "reason keyCompromise",
	} {
		if !strings.Contains(r.description(), want) {
			t.Errorf("%q is not in %s", want, r.description())
		}
	}

	// A token that is out ends by its own time, one hour at most (UDAP JWT 6.2).
	if got := a.read("public", issued); got != http.StatusOK {
		t.Errorf("a token issued before: %d", got)
	}

	// An older list, genuine all the same, beside a memory that is gone; then
	// a newer one of another key.
	if err := os.WriteFile(d.file("second.crl"), []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	a.publish(&certs.CA{Cert: second.Cert, Key: key}, "forged.crl", 9)
	killDestination(t, st, d)
	a.refused("an older list after a kill", token(), "invalid_client", "chain.revocation")
	a.fetched("second.crl")
	a.refused("an older list, later", token(), "invalid_client", "chain.revocation")
	if err := os.Rename(d.file("forged.crl"), d.file("second.crl")); err != nil {
		t.Fatal(err)
	}

	a.fetched("second.crl")
	a.refused("a list of another key", token(), "invalid_client", "chain.revocation")
	a.publish(second, "second.crl", 7)
	a.within("a newer list clears it", http.StatusOK, token)

	old, err := certs.LoadCRL(d.file("a-root.crl"))
	if err != nil {
		t.Fatal(err)
	}
	a.publish(root, "a-root.crl", old.Number.Int64()+1, second.Cert)
	r = a.within("its authority revoked", http.StatusBadRequest, token)
	a.refused("its authority revoked", r, "invalid_client", "chain.revocation")
	if !strings.Contains(r.description(), "certificate 1 of the path") ||
		!strings.Contains(r.description(), "CN=Second issuing") {
		t.Errorf("which certificate: %s", r.description())
	}

	a.logs()
}
