package lab

import (
	"net"
	"slices"
	"time"

	"fhirdest.example/gateway/complaint"
)

// Settings are the lab's part of a destination's configuration.
type Settings struct {
	// Issuers sign the certificates of sessions; at least one.
	Issuers []IssuerSettings `yaml:"issuers"`
	// Data is the directory of the sessions; default: that of the destination.
	Data string `yaml:"data,omitempty"`
	// Open is who may open sessions: "console" (default), or "public" for whoever
	// reaches the public site.
	Open string `yaml:"open,omitempty"`
	// Sessions is how many there may be; default 100.
	Sessions int `yaml:"sessions,omitempty"`
	// Keep is how long a session lives; default 120h.
	Keep time.Duration `yaml:"keep,omitempty"`
	// Exchanges is how many a session keeps; default 20000.
	Exchanges int `yaml:"exchanges,omitempty"`
	// Size is how many bytes a session keeps; default 268435456.
	Size int64 `yaml:"size,omitempty"`
	// AtWork is how many sessions have their stores open at once; default 16.
	AtWork int `yaml:"atWork,omitempty"`
	// Plain: one more session, "plain", watches the destination's own base URL.
	Plain bool `yaml:"plain,omitempty"`
	// Faulty is HOST:PORT of the first of eight listeners with faulty TLS; the others
	// have the next ports, or any where PORT is 0. None: there are no such faults.
	Faulty string `yaml:"faulty,omitempty"`
	// FaultyAuthority issues their certificates: an authority of web servers that the
	// clients under test trust. None: there are the two faults alone that need none.
	FaultyAuthority *AuthoritySettings `yaml:"faultyAuthority,omitempty"`
	// TLS is a PEM file of the authorities of the public site's TLS, for testers to
	// download; none: public ones.
	TLS string `yaml:"tls,omitempty"`
	// Evidence are files of evidence lines of other hops.
	Evidence []string `yaml:"evidence,omitempty"`
}

// IssuerSettings is an issuing authority of a configured trust community.
type IssuerSettings struct {
	Community string `yaml:"community"`     // its URI
	Chain     string `yaml:"chain"`         // PEM file, the issuing authority first
	Key       string `yaml:"key"`           // PEM file, unencrypted
	CRL       string `yaml:"crl,omitempty"` // distribution point written into certificates
}

// AuthoritySettings is an authority that issues certificates of web servers.
type AuthoritySettings struct {
	Chain string `yaml:"chain"` // PEM file, the issuing authority first
	Key   string `yaml:"key"`   // PEM file, unencrypted
}

// WithDefaults returns the settings with the stated defaults filled in.
func (s Settings) WithDefaults() Settings {
	if s.Open == "" {
		s.Open = "console"
	}
	s.Sessions = or(s.Sessions, 100)
	s.Keep = or(s.Keep, 120*time.Hour)
	s.Exchanges = or(s.Exchanges, 20000)
	s.Size = or(s.Size, 256<<20)
	s.AtWork = or(s.AtWork, 16)

	return s
}

func or[T int | int64 | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

// Check complains about what is written; communities are the URIs of those that are
// configured.
func (s Settings) Check(cs *complaint.List, communities []string) {
	if len(s.Issuers) == 0 {
		cs.Add("name an issuing authority of one of communities: its chain and its key",
			"lab.issuers: there are none")
	}

	var seen []string
	for i, issuer := range s.Issuers {
		switch {
		case !slices.Contains(communities, issuer.Community):
			cs.Add("write the uri of one of communities",
				"lab.issuers[%d].community: %q is none", i, issuer.Community)
		case slices.Contains(seen, issuer.Community):
			cs.Add("name each community once",
				"lab.issuers[%d].community: %s has an issuer already", i, issuer.Community)
		}

		seen = append(seen, issuer.Community)
	}

	if s.Open != "" && s.Open != "console" && s.Open != "public" {
		cs.Add("write one of: console, public", "lab.open: %q is not known", s.Open)
	}
	s.checkAmounts(cs)
	if s.Faulty != "" {
		if _, _, err := net.SplitHostPort(s.Faulty); err != nil {
			cs.Add("write HOST:PORT, such as 127.0.0.1:9446", "lab.faulty: %q is not an address to listen on", s.Faulty)
		}
	}
	if s.Faulty == "" && s.FaultyAuthority != nil {
		cs.Add("give lab.faulty, or leave it out", "lab.faultyAuthority: there are no listeners with faulty TLS")
	}
}

func (s Settings) checkAmounts(cs *complaint.List) {
	for _, n := range []struct {
		key   string
		value int64
	}{
		{"sessions", int64(s.Sessions)},
		{"exchanges", int64(s.Exchanges)},
		{"size", s.Size},
		{"atWork", int64(s.AtWork)},
	} {
		if n.value < 0 {
			cs.Add("write 0 for the default, or a positive number", "lab.%s: %d is negative", n.key, n.value)
		}
	}

	if s.Keep < 0 {
		cs.Add("leave it out for the default, or write a length of time such as 120h", "lab.keep: %s is negative",
			s.Keep)
	}
}
