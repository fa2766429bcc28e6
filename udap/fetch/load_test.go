package fetch

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// member is a certificate with its key.
type member struct {
	leaf *x509.Certificate
	key  crypto.Signer
}

// members issues n certificates whose status only a responder knows.
func (tr *trust) members(n int, responder string) []member {
	out := make([]member, n)
	for i := range out {
		out[i].leaf, out[i].key = tr.leaf(tr.inter, func(t *certs.Template) {
			t.CRL, t.OCSP = nil, []string{responder}
		})
	}
	return out
}

// judgeWithin is judge with a caller's context.
func (tr *trust) judgeWithin(ctx context.Context, m member) error {
	decision := trace.NewTrace("register", tr.clock.now())
	_, err := tr.ver.Statement(ctx, tr.statement(m.key, m.leaf, tr.inter.Cert), udap.Expect{
		Now:      tr.clock.now(),
		Audience: "https://as.test/register",
	}, decision)
	return err
}

// gate is a handler that holds every request until it is opened.
type gate struct {
	arrived chan struct{}
	open    chan struct{}
	then    http.HandlerFunc
}

func newGate(then http.HandlerFunc) *gate {
	return &gate{arrived: make(chan struct{}, 1000), open: make(chan struct{}), then: then}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.arrived <- struct{}{}
	<-g.open
	g.then(w, r)
}

// However many members need a responder at once, each gets its own verdict: the
// rest wait for a slot.
func TestEveryMemberIsAskedAbout(t *testing.T) {
	tr := newTrust(t, udap.Policy{})
	g := newGate(tr.responder(tr.inter.Key, nil, func(*ocsp.Response) {}))
	tr.handle("/ocsp", g.ServeHTTP)

	all := tr.members(5*perHost, tr.web.URL+"/ocsp")
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, m := range all {
		wg.Go(func() { errs[i] = tr.judgeWithin(context.Background(), m) })
	}
	for range perHost {
		<-g.arrived // all slots of the host are in use
	}

	close(g.open)
	wg.Wait()

	for i, err := range errs {
		if err != nil {
			t.Errorf("member %d: %v", i, err)
		}
	}
}

// A caller whose time ends in the queue gets temporarily_unavailable under every
// policy, and nothing of it is remembered.
func TestBusyIsNoResult(t *testing.T) {
	for _, rule := range []udap.RevocationRule{"", udap.RevocationSoft} {
		t.Run("revocation "+string(rule), func(t *testing.T) {
			tr := newTrust(t, udap.Policy{Revocation: rule})
			g := newGate(tr.responder(tr.inter.Key, nil, func(*ocsp.Response) {}))
			tr.handle("/ocsp", g.ServeHTTP)
			all := tr.members(perHost+1, tr.web.URL+"/ocsp")
			var wg sync.WaitGroup

			for _, m := range all[:perHost] {
				wg.Go(func() {
					if err := tr.judgeWithin(context.Background(), m); err != nil {
						t.Errorf("a member with a slot: %v", err)
					}
				})
			}

			for range perHost {
				<-g.arrived
			}

			late, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			err := tr.judgeWithin(late, all[perHost])
			wantCode(t, err, trace.TemporarilyUnavailable)

			close(g.open)
			wg.Wait()
			if err := tr.judgeWithin(context.Background(), all[perHost]); err != nil {
				t.Errorf("asked again: %v", err)
			}
		})
	}
}

// The CRL host of one issuer that hangs delays its own members only.
func TestHungHostDelaysOnlyItsOwn(t *testing.T) {
	tr := newTrust(t, udap.Policy{})
	hung := newListServer(t, nil)
	g := newGate(http.NotFound)
	hung.serve(g.ServeHTTP)
	tr.src = newSource(t, tr.clock, Config{Allow: []string{tr.web.URL, hung.URL}, Timeout: patience})
	tr.ver.Revocation = tr.src

	var wg sync.WaitGroup
	for i := range 3 * perHost {
		leaf, key := tr.leaf(tr.inter, func(t *certs.Template) {
			t.CRL = []string{fmt.Sprintf("%s/%d.crl", hung.URL, i)}
		})
		wg.Go(func() { _ = tr.judgeWithin(context.Background(), member{leaf, key}) })
	}

	for range perHost {
		<-g.arrived
	}

	leaf, key := tr.leaf(tr.inter, nil)
	if err := tr.judgeWithin(context.Background(), member{leaf, key}); err != nil {
		t.Errorf("a member of another host: %v", err)
	}
	close(g.open)
	wg.Wait()
}

// A later CRL counts whatever its number; one without a number revokes and
// clears nobody (RFC 5280 5.2.3, 6.3.3).
func TestNumbersDoNotHideRevocations(t *testing.T) {
	for _, c := range []struct {
		name    string
		number  *big.Int
		revokes bool
		want    string // the check that refuses
	}{
		{"lower number, revoked", big.NewInt(3), true, "chain.revocation"},
		{"lower number, good", big.NewInt(3), false, ""},
		{"no number, revoked", nil, true, "chain.revocation"},
		{"no number, not named", nil, false, "chain.revocation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrust(t, udap.Policy{})
			leaf, key := tr.leaf(tr.inter, nil)
			tr.serve("/int.crl", tr.crl(tr.inter, 10))
			decision, err := tr.judge(key, leaf, tr.inter.Cert)
			tr.want("", decision, err)

			tr.clock.move(time.Minute)
			list := &x509.RevocationList{
				Number:     c.number,
				ThisUpdate: tr.clock.now(),
				NextUpdate: tr.clock.now().Add(time.Hour),
			}

			if c.revokes {
				list.RevokedCertificateEntries = []x509.RevocationListEntry{{
					SerialNumber:   leaf.SerialNumber,
					RevocationTime: tr.clock.now(),
				}}
			}

			tr.serve("/int.crl", signCRL(list, tr.inter))
			tr.src.Refresh(context.Background())

			decision, err = tr.judge(key, leaf, tr.inter.Cert)
			tr.want(c.want, decision, err)
		})
	}
}

// signCRL signs a CRL; one without a number has no extensions at all, which the
// standard library does not write.
func signCRL(list *x509.RevocationList, ca *certs.CA) []byte {
	bare := list.Number == nil
	if bare {
		list.Number = big.NewInt(1)
	}
	der := must(x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.Key))
	if !bare {
		return der
	}

	var parts struct {
		TBS       []asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	must(asn1.Unmarshal(der, &parts))
	parts.TBS = parts.TBS[:len(parts.TBS)-1] // its last field: the extensions
	digest := sha256.Sum256(must(asn1.Marshal(parts.TBS)))
	parts.Signature.Bytes = must(ca.Key.Sign(rand.Reader, digest[:], crypto.SHA256))

	parts.Signature.BitLength = 8 * len(parts.Signature.Bytes)
	return must(asn1.Marshal(parts))
}

func wantCode(t *testing.T, err error, code trace.Code) {
	t.Helper()
	var e *trace.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want %s", err, code)
	}
}
