package faulty

import (
	"crypto"
	"crypto/x509"
	"net"
	"time"

	"fhirdest.example/certs"
)

// fault is one way in which TLS is wrong; its name is that of the catalogue.
type fault struct {
	name    string
	trusted bool // the certificate is of Config.Authority
	old     bool // TLS 1.1 at most
	change  func(t *certs.Template, now time.Time)
	issue   func(c Config, t certs.Template, key crypto.Signer) (*certs.Identity, error) // nil: by Authority
}

// faults are all, in the order of their ports.
var faults = []fault{
	{
		name:    Sound,
		trusted: true,
	},
	{
		name:    "tls-expired",
		trusted: true,
		change: func(t *certs.Template, now time.Time) {
			t.NotBefore, t.NotAfter = now.Add(-48*time.Hour), now.Add(-24*time.Hour)
		},
	},
	{
		name:    "tls-not-yet-valid",
		trusted: true,
		change: func(t *certs.Template, now time.Time) {
			t.NotBefore, t.NotAfter = now.AddDate(1, 0, 0), now.AddDate(2, 0, 0)
		},
	},
	{
		name:    "tls-wrong-name",
		trusted: true,
		change: func(t *certs.Template, _ time.Time) {
			t.DNS, t.IPs = []string{"another-host.invalid"}, nil
		},
	},
	{
		name:  "tls-self-signed",
		issue: selfSigned,
	},
	{
		name:  "tls-other-authority",
		issue: unknown,
	},
	{
		name:    "tls-missing-intermediate",
		trusted: true,
		issue:   gap,
	},
	{
		name:    "tls-old-version",
		trusted: true,
		old:     true,
	},
}

// life is how long certificates are valid, at most until the process ends.
const life = 90 * 24 * time.Hour

// certificate makes the certificate of a listener.
func (f fault) certificate(c Config) (*certs.Identity, error) {
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		return nil, err
	}

	now := c.Now()
	t := certs.Template{
		CommonName: c.Host,
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(life),
	}
	if ip := net.ParseIP(c.Host); ip != nil {
		t.IPs = []net.IP{ip}
	} else {
		t.DNS = []string{c.Host}
	}
	if f.change != nil {
		f.change(&t, now)
	}
	if f.issue != nil {
		return f.issue(c, t, key)
	}

	return issued(c.Authority, t, key)
}

func issued(by *certs.CA, t certs.Template, key crypto.Signer) (*certs.Identity, error) {
	leaf, err := by.Issue(t, key.Public())
	if err != nil {
		return nil, err
	}
	return &certs.Identity{
		Chain: by.Chain(leaf),
		Key:   key,
	}, nil
}

func selfSigned(_ Config, t certs.Template, key crypto.Signer) (*certs.Identity, error) {
	root, err := certs.NewRoot(t, key)
	if err != nil {
		return nil, err
	}
	return &certs.Identity{
		Chain: []*x509.Certificate{root.Cert},
		Key:   key,
	}, nil
}

// unknown is issued by an authority that nobody has heard of.
func unknown(c Config, t certs.Template, key crypto.Signer) (*certs.Identity, error) {
	root, err := authority(c, "Authority of nobody", nil)
	if err != nil {
		return nil, err
	}
	return issued(root, t, key)
}

// gap is issued by an authority below Authority, which is not sent.
func gap(c Config, t certs.Template, key crypto.Signer) (*certs.Identity, error) {
	between, err := authority(c, "Authority between", c.Authority)
	if err != nil {
		return nil, err
	}

	id, err := issued(between, t, key)
	if err == nil {
		id.Chain = id.Chain[:1]
	}
	return id, err
}

// authority makes an authority below another one; nil: a root.
func authority(c Config, name string, above *certs.CA) (*certs.CA, error) {
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		return nil, err
	}

	t := certs.Template{
		CommonName: name,
		NotBefore:  c.Now().Add(-time.Hour),
		NotAfter:   c.Now().Add(life),
	}
	if above == nil {
		return certs.NewRoot(t, key)
	}
	return above.NewCA(t, key)
}
