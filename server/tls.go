package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"fhirdest.example/certs"
)

// tlsConfig is TLS 1.2 with ephemeral keys and AEAD, and 1.3, and HTTP/1.1 by
// ALPN and nothing else: HTTP/2 could not pass an intermediary untouched.
func tlsConfig(k *keeper, clientCAs *x509.CertPool) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"http/1.1"},
		GetCertificate: k.certificate,
		// A resumed session asks for no certificate, and may name another host.
		VerifyConnection: func(state tls.ConnectionState) error { return k.serves(state.ServerName) },
	}
	if clientCAs != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clientCAs
	}
	return c
}

// keeper holds the TLS certificate and puts a new one in its place when the
// files change, without a failed handshake in between: a pair that does not
// fit (half of it is written, say) leaves the old one in use.
type keeper struct {
	chain, key string // paths
	load       func() (*certs.Identity, error)
	log        *slog.Logger
	current    atomic.Pointer[tls.Certificate]
	seen       [sha256.Size]byte // what the files in use held
	refused    [sha256.Size]byte // what files that did not fit held
}

func newKeeper(c Config, id *certs.Identity, now func() time.Time, log *slog.Logger) *keeper {
	k := &keeper{chain: c.file(c.TLS.Cert), key: c.file(c.TLS.Key), log: log}
	k.load = func() (*certs.Identity, error) {
		l := &loader{cfg: c, now: now()}
		id := l.tlsIdentity()
		return id, l.err()
	}
	// They may have changed since id was read.
	seen := k.look()
	if again, err := k.load(); err == nil {
		id, k.seen = again, seen
	}
	pair := id.TLS()
	k.current.Store(&pair)
	return k
}

// certificate answers a handshake that asks for no name or for one of the
// certificate's.
func (k *keeper) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if k.serves(hello.ServerName) != nil {
		return nil, nil // then crypto/tls says unrecognized_name (RFC 6066, 3)
	}
	return k.current.Load(), nil
}

// serves refuses a name that is not one of the certificate's.
func (k *keeper) serves(name string) error {
	if name != "" && k.current.Load().Leaf.VerifyHostname(name) != nil {
		return errors.New("server: the name asked for in the handshake is not one of the certificate's")
	}
	return nil
}

// look digests the files so that a change of either shows. Times of change would not
// do: two changes may bear the same.
func (k *keeper) look() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, path := range []string{k.chain, k.key} {
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%v %d %s", err == nil, len(b), b)
	}
	h.Sum(sum[:0])
	return sum
}

// reload tries the files again if they changed or force is set.
func (k *keeper) reload(force bool) {
	seen := k.look()
	if seen == k.seen && !force {
		return
	}
	id, err := k.load()
	if err != nil {
		// Tried again at each look, as the second file may be on its way; told once.
		if seen != k.refused || force {
			k.log.Warn("the TLS certificate was not replaced", "cause", err)
		}
		k.refused = seen
		return
	}
	k.seen = seen
	pair := id.TLS()
	k.current.Store(&pair)
	k.log.Info("the TLS certificate was replaced", "certificate", certs.Describe(id.Leaf()))
}

// watch looks at the files until ctx ends.
func (k *keeper) watch(ctx context.Context, every time.Duration, now <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-now:
			k.reload(true)
		case <-tick.C:
			k.reload(false)
		}
	}
}
