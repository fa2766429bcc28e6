// Package servertest puts a whole destination into a test: trust communities,
// their revocation lists on a server of their own, TLS material, a
// configuration in files, and the destination itself on real sockets and Bolt
// files.
package servertest

import (
	"crypto"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server"
	"fhirdest.example/udap/udaptest"
)

// The trust communities of an Env.
const (
	URIA = "urn:oid:2.16.840.1.113883.3.9999.1"
	URIB = "urn:oid:2.16.840.1.113883.3.9999.2"
)

// Env is the environment of a destination.
type Env struct {
	Dir    string // holds every file
	A, B   *certs.Community
	TLS    *certs.CA // issued the destination's TLS certificate
	Config server.Config
	Lists  *Lists
	Now    func() time.Time // the destination's clock

	tb    testing.TB
	alone bool // see Alone
	names map[*certs.Community]string
}

// Base is the public FHIR base URL of every Env.
const Base = "https://fhir.test/acme/fhir"

// NewEnv makes two communities, a destination's certificates in both, and
// the configuration of a destination in files. Clocks are real; everything is
// valid from an hour ago.
func NewEnv(tb testing.TB) *Env {
	tb.Helper()
	w := &Env{
		Dir:   tb.TempDir(),
		tb:    tb,
		Lists: newLists(tb),
		Now:   time.Now,
		names: map[*certs.Community]string{},
	}
	w.A, w.B = w.Community("a"), w.Community("b")

	var err error
	w.TLS, err = certs.NewRoot(certs.Template{
		CommonName: "TLS Root",
		NotBefore:  before(),
		NotAfter:   after(),
	}, w.Key(certs.KeyKind("p256")))
	w.must(err)
	w.Config = server.Config{
		Dir:    w.Dir,
		Public: Base,
		Listen: "127.0.0.1:0",
		Admin: server.Admin{
			Listen: "127.0.0.1:0",
			Open:   true,
		},
		Data:        "data",
		Explain:     "client",
		Patients:    3,
		Communities: []server.Community{w.member("a", URIA, w.A), w.member("b", URIB, w.B)},
		Revocation: server.Revocation{
			Refresh: time.Second,
			Allow:   []string{w.Lists.URL},
		},
	}

	if onDatabase {
		Database(w)
	}
	return w
}

func before() time.Time {
	return time.Now().Add(-time.Hour).Truncate(time.Second)
}

func after() time.Time { return before().AddDate(1, 0, 0) }

func (w *Env) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// keys keeps RSA keys between environments of one test run: making one takes longer
// than most tests.
var keys = struct {
	sync.Mutex
	rsa []crypto.Signer
}{}

// Key makes a private key.
func (w *Env) Key(kind certs.KeyKind) crypto.Signer {
	w.tb.Helper()
	k, err := certs.NewKey(kind)
	w.must(err)
	return k
}

// ownKey is the RSA key of the destination in community i, made once.
func (w *Env) ownKey(i int) crypto.Signer {
	keys.Lock()
	defer keys.Unlock()
	for len(keys.rsa) <= i {
		keys.rsa = append(keys.rsa, w.Key("rsa2048"))
	}
	return keys.rsa[i]
}

// Community makes a trust community, whose lists are published under NAME.crl and
// NAME-root.crl.
func (w *Env) Community(name string) *certs.Community {
	w.tb.Helper()
	c, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "Community " + name,
		Key:       "p256",
		NotBefore: before(),
		Life:      2 * 365 * 24 * time.Hour,
		RootCRL:   w.Lists.URL + "/" + name + "-root.crl",
	})
	w.must(err)

	w.names[c] = name
	w.Publish(name+"-root", c.Root)
	w.Publish(name, c.Issuing)
	return c
}

// Publish puts a list of an authority in place, with these serials revoked.
func (w *Env) Publish(name string, ca *certs.CA, revoked ...certs.RevokedEntry) {
	w.tb.Helper()
	w.Lists.number++
	der, err := ca.CRL(certs.CRLTemplate{
		Number:     w.Lists.number,
		ThisUpdate: time.Now().Add(-time.Minute),
		NextUpdate: time.Now().Add(24 * time.Hour),
		Revoked:    revoked,
	})
	w.must(err)

	w.Lists.Set("/"+name+".crl", der)
}

// member writes the files of a community and returns its configuration.
func (w *Env) member(name, uri string, c *certs.Community) server.Community {
	w.must(certs.WriteCertificates(filepath.Join(w.Dir, name+"-anchor.pem"), c.Root.Cert))
	id := w.Issue(name, c, w.ownKey(int(name[0]-'a')), Base)
	w.WriteIdentity(name, id)

	return server.Community{
		URI: uri, Name: "Community " + name, Anchors: []string{name + "-anchor.pem"},
		Certificates: []server.Certificate{{
			Chain: name + ".pem",
			Key:   name + ".key",
		}},
	}
}

// WriteIdentity writes NAME.pem and NAME.key.
func (w *Env) WriteIdentity(name string, id *certs.Identity) {
	w.tb.Helper()
	w.must(certs.WriteIdentity(filepath.Join(w.Dir, name+".pem"), filepath.Join(w.Dir, name+
		".key"), id))
}

// Issue has a community issue a certificate for a key, with the URIs in its
// SAN and the community's distribution point.
func (w *Env) Issue(
	name string, c *certs.Community, key crypto.Signer, uris ...string,
) *certs.Identity {
	w.tb.Helper()
	t := certs.Template{
		CommonName:   name,
		Organization: "HTEST",
		URIs:         uris,
		NotBefore:    before(),
		NotAfter:     after(),
		CRL:          []string{w.Lists.URL + "/" + w.names[c] + ".crl"},
	}
	leaf, err := c.Issuing.Issue(t, key.Public())
	w.must(err)

	return &certs.Identity{
		Chain: c.Issuing.Chain(leaf),
		Key:   key,
	}
}

// Client makes a client of a community with a P-256 key and one URI.
func (w *Env) Client(c *certs.Community, uri string) *certs.Identity {
	w.tb.Helper()
	return w.Issue("client", c, w.Key("p256"), uri)
}

// Lists is a server of revocation lists.
type Lists struct {
	URL    string
	number int64

	mu    sync.Mutex
	files map[string][]byte
	asked map[string]int
}

func newLists(tb testing.TB) *Lists {
	l := &Lists{
		files: map[string][]byte{},
		asked: map[string]int{},
	}
	s := httptest.NewServer(l)
	tb.Cleanup(s.Close)
	l.URL = s.URL
	return l
}

// Set puts a file in place; nil removes it.
func (l *Lists) Set(path string, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files[path] = data
}

// Asked returns how often a file was asked for.
func (l *Lists) Asked(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[path]
}

func (l *Lists) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.asked[r.URL.Path]++
	data := l.files[r.URL.Path]
	l.mu.Unlock()
	if data == nil {
		http.NotFound(w, r)
		return
	}

	w.Header().Set("Content-Type", "application/pkix-crl")
	_, _ = w.Write(data) // the fetcher is gone
}

// Listen opens the destination's socket and writes the TLS certificate for
// its private name.
func (w *Env) Listen() net.Listener {
	w.tb.Helper()
	l := w.socket()
	w.Config.Private = fmt.Sprintf("https://destination.test:%d/acme/fhir", l.Addr().(*net.TCPAddr).Port)
	w.WriteTLS("destination.test", "fhir.test")
	return l
}

// socket opens a socket for a destination.
func (w *Env) socket() net.Listener {
	w.tb.Helper()
	l := udaptest.Listen(w.tb)
	w.Config.Listen = l.Addr().String()
	return l
}

// WriteTLS issues the TLS certificate anew, for these names.
func (w *Env) WriteTLS(names ...string) {
	w.tb.Helper()
	key := w.Key("p256")
	leaf, err := w.TLS.Issue(certs.Template{
		CommonName: names[0],
		DNS:        names,
		NotBefore:  before(),
		NotAfter:   after(),
	}, key.Public())
	w.must(err)

	w.WriteIdentity("tls", &certs.Identity{
		Chain: w.TLS.Chain(leaf),
		Key:   key,
	})
	w.Config.TLS.Cert, w.Config.TLS.Key = "tls.pem", "tls.key"
}
