package doctor_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/doctor"
)

const (
	host = "fhir.test"
	base = "https://fhir.test/acme/fhir"
)

// world is a web server in good order, and what a test changes before it starts.
type world struct {
	tb      testing.TB
	root    *certs.CA
	known   *x509.Certificate // the root that the stranger knows
	leaf    certs.Template
	issuer  certs.Template
	key     crypto.Signer
	chain   func(leaf, issuer *x509.Certificate, root *certs.CA) []*x509.Certificate
	tls     *tls.Config
	handler http.HandlerFunc
	plain   http.HandlerFunc          // at port 80; nil: nobody listens
	answer  func(hello []byte) []byte // to a ClientHello, before TLS; nil or no bytes: TLS goes on
	now     func() time.Time          // the stranger's clock
	bare    bool                      // the port of TLS has plain HTTP too

	hidden     []string
	clientCert bool
}

// keys are made once: RSA keys take long.
var keys = sync.OnceValue(func() [3]crypto.Signer {
	var out [3]crypto.Signer
	for i := range out {
		k, err := certs.NewKey("rsa2048")
		if err != nil {
			panic(err)
		}
		out[i] = k
	}

	return out
})

func newWorld(tb testing.TB) *world {
	tb.Helper()
	start := time.Now().Add(-time.Hour)
	w := &world{
		tb:  tb,
		key: keys()[2],
		leaf: certs.Template{
			CommonName: "leaf",
			DNS:        []string{host},
			NotBefore:  start,
			NotAfter:   start.AddDate(0, 0, 90),
			CRL:        []string{"http://ca.test/list.crl"},
		},
		issuer: certs.Template{
			CommonName: "issuer",
			NotBefore:  start,
			NotAfter:   start.AddDate(5, 0, 0),
		},
		chain: func(leaf, issuer *x509.Certificate, _ *certs.CA) []*x509.Certificate {
			return []*x509.Certificate{leaf, issuer}
		},
		tls: &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"http/1.1"},
			CipherSuites: []uint16{
				tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
				tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			},
		},
		handler: wellBehaved,
		now:     time.Now,
	}

	root, err := certs.NewRoot(certs.Template{
		CommonName: "root",
		NotBefore:  start.AddDate(-5, 0, 0),
		NotAfter:   start.AddDate(5, 0, 0),
	}, keys()[0])
	w.must(err)
	w.root, w.known = root, root.Cert

	return w
}

func (w *world) must(err error) {
	w.tb.Helper()
	if err != nil {
		w.tb.Fatal(err)
	}
}

// wellBehaved answers a stranger as a destination should.
func wellBehaved(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Content-Type", "application/json")
	status := http.StatusNotFound
	switch {
	case r.Method == http.MethodTrace:
		status = http.StatusMethodNotAllowed
	case r.URL.Path == "/acme/fhir/metadata":
		h.Set("Access-Control-Allow-Origin", "*")
		status = http.StatusOK
	case r.URL.Path == "/acme/oauth/token":
		status = http.StatusBadRequest
	case len(r.URL.Path) > 10 && r.URL.Path[:11] == "/acme/fhir/":
		h.Set("WWW-Authenticate", "Bearer")
		status = http.StatusUnauthorized
	}

	w.WriteHeader(status)
	_, _ = io.WriteString(w, "{}")
}

// identity issues the server's certificate.
func (w *world) identity() *tls.Certificate {
	w.tb.Helper()
	ca, err := w.root.NewCA(w.issuer, keys()[1])
	w.must(err)
	leaf, err := ca.Issue(w.leaf, w.key.Public())
	w.must(err)

	c := &tls.Certificate{PrivateKey: w.key}
	for _, cert := range w.chain(leaf, ca.Cert, w.root) {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// examine starts the server and examines it.
func (w *world) examine() *doctor.Report {
	w.tb.Helper()
	w.tls.Certificates = []tls.Certificate{*w.identity()}
	secure := w.serve(w.handler, true)
	addresses := map[string]string{host + ":443": secure}
	if w.plain != nil {
		addresses[host+":80"] = w.serve(w.plain, false)
	}

	roots := x509.NewCertPool()
	roots.AddCert(w.known)
	return doctor.Examine(context.Background(), doctor.Config{
		Now:   w.now,
		Roots: roots,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := addresses[address]
			if to == "" {
				return nil, errors.New("connection refused: " + address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		},
	}, doctor.Place{
		Name:              "public",
		Base:              base,
		Token:             "https://fhir.test/acme/oauth/token",
		Hidden:            w.hidden,
		ClientCertificate: w.clientCert,
	})
}

func (w *world) serve(h http.Handler, secure bool) string {
	w.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	server := &http.Server{
		Handler:                      h,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(io.Discard, "", 0),
		TLSNextProto:                 map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	w.tb.Cleanup(func() { _ = server.Close() })

	if secure {
		l = &hellos{
			Listener: l,
			w:        w,
		}
	}

	go func() { _ = server.Serve(l) }()
	return l.Addr().String()
}

// hellos is a listener of TLS that first has a look at each ClientHello.
type hellos struct {
	net.Listener
	w *world
}

func (l *hellos) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}

		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		first := make([]byte, 5)
		if _, err := io.ReadFull(c, first); err != nil {
			_ = c.Close()
			continue
		}

		_ = c.SetReadDeadline(time.Time{})
		if first[0] != 22 && l.w.bare {
			return &replayed{Conn: c, r: io.MultiReader(bytes.NewReader(first), c)}, nil
		}

		if l.w.answer != nil && first[0] == 22 {
			rest := make([]byte, binary.BigEndian.Uint16(first[3:]))
			_, _ = io.ReadFull(c, rest) // what is short is no hello
			if out := l.w.answer(rest); len(out) > 0 {
				_, _ = c.Write(out)
				_ = c.Close()
				continue
			}
			first = append(first, rest...)
		}

		return tls.Server(&replayed{Conn: c, r: io.MultiReader(bytes.NewReader(first), c)}, l.w.tls), nil
	}
}

type replayed struct {
	net.Conn
	r io.Reader
}

func (c *replayed) Read(p []byte) (int, error) { return c.r.Read(p) }

// hello is what a ClientHello offers.
type hello struct {
	version uint16
	suites  []uint16
	doctors bool // it offers compression, as Go's own client never does
}

func parseHello(b []byte) (h hello) {
	const random = 4 + 2 + 32
	h.version = binary.BigEndian.Uint16(b[4:])
	b = b[random+1+int(b[random]):]
	size := 2 + int(binary.BigEndian.Uint16(b))
	for i := 2; i+1 < size; i += 2 {
		h.suites = append(h.suites, binary.BigEndian.Uint16(b[i:]))
	}
	h.doctors = bytes.HasPrefix(b[size:], []byte{2, 1, 0})
	return h
}

// chooses answers a ClientHello of a version with a ServerHello of a suite, where that
// is offered.
func chooses(version, suite uint16, compression byte, renews bool) func([]byte) []byte {
	return func(b []byte) []byte {
		h := parseHello(b)
		if !h.doctors || h.version != version || !slices.Contains(h.suites, suite) {
			return nil
		}

		out := binary.BigEndian.AppendUint16(nil, version)
		out = append(out, make([]byte, 33)...)
		out = binary.BigEndian.AppendUint16(out, suite)
		out = append(out, compression)
		if renews {
			out = append(out, 0, 5, 0xff, 1, 0, 1, 0)
		}
		message := append([]byte{2, 0, 0, byte(len(out))}, out...)
		return append([]byte{22, 3, 3, 0, byte(len(message))}, message...)
	}
}

// noneWeakAt12 has suites of old versions refused in TLS 1.2: Go has one list for all.
func noneWeakAt12(b []byte) []byte {
	h := parseHello(b)
	if h.version != tls.VersionTLS12 || slices.Contains(h.suites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) {
		return nil
	}
	return []byte{21, 3, 3, 0, 2, 2, 40} // alert: handshake_failure
}
