package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"

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
		VerifyConnection: func(state tls.ConnectionState) error {
			return k.serves(state.ServerName)
		},
	}

	if clientCAs != nil {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.ClientCAs = clientCAs
	}
	return c
}

// keeper holds the TLS certificate and puts a new one in its place when the
// files change, without a failed handshake in between: a pair that does not
// fit (half of it is written, for example) leaves the old one in use.
type keeper struct {
	current atomic.Pointer[tls.Certificate]
}

func newKeeper(id *certs.Identity) *keeper {
	k := &keeper{}
	k.keep(id)
	return k
}

func (k *keeper) keep(id *certs.Identity) {
	pair := id.TLS()
	k.current.Store(&pair)
}

// leaf is the certificate in use.
func (k *keeper) leaf() *x509.Certificate { return k.current.Load().Leaf }

// certificate answers a handshake that asks for no name or for one of the
// certificate's.
func (k *keeper) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if k.serves(hello.ServerName) != nil {
		return nil, nil // then crypto/tls answers unrecognized_name (RFC 6066, 3)
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

// tlsFiles are the files of the TLS certificate.
func (s *Server) tlsFiles() *files {
	return newFiles("the TLS certificate", []string{
		s.cfg.file(s.cfg.TLS.Cert),
		s.cfg.file(s.cfg.TLS.Key),
	}, s.deps.Log, func() (string, error) {
		l := &loader{
			cfg: s.cfg,
			now: s.deps.Now(),
		}
		id := l.tlsIdentity()
		if err := l.Err(); err != nil {
			return "", err
		}

		s.keeper.keep(id)
		return certs.Describe(id.Leaf()), nil
	})
}
