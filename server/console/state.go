package console

import (
	"time"

	"fhirdest.example/server/forward"
)

// Readiness is the answer of /ready.
type Readiness struct {
	Ready       bool          `json:"ready"` // at least one community is served
	PublicBase  string        `json:"publicBase"`
	PrivateBase string        `json:"privateBase"`
	Issuer      string        `json:"issuer"`
	Started     time.Time     `json:"started"`
	Communities []Community   `json:"communities"`
	Lists       []List        `json:"lists"`
	Clients     []Certificate `json:"clientCertificates"` // of registered clients: run out, or within 30 days of it
	Warnings    []string      `json:"warnings"`
	// Collectors are how far those of the audit record have got; empty when none is
	// configured.
	Collectors []forward.State `json:"collectors,omitempty"`
}

// Community is the state of one trust community.
type Community struct {
	URI          string        `json:"uri"`
	Name         string        `json:"name"`
	Profile      string        `json:"profile"`
	Withheld     string        `json:"withheld,omitzero"` // why its metadata is not served; empty when it is
	Revocation   string        `json:"revocation"`        // what the self-test found out about our own certificates
	Certificates []Certificate `json:"certificates"`
	Anchors      []Certificate `json:"anchors"`
}

// Certificate is what is shown of one.
type Certificate struct {
	Of          string    `json:"of,omitzero"` // the client it belongs to; empty for ours
	Subject     string    `json:"subject"`
	Serial      string    `json:"serial"` // hexadecimal
	Key         string    `json:"key"`
	Fingerprint string    `json:"sha256"`
	Names       []string  `json:"names"` // URIs of its SAN
	Expires     time.Time `json:"expires"`
	DaysLeft    int       `json:"daysLeft"` // negative once it has run out
}

// List is the state of one CRL.
type List struct {
	Place      string    `json:"place"`
	Issuer     string    `json:"issuer"`
	Number     string    `json:"number,omitzero"`
	ThisUpdate time.Time `json:"thisUpdate,omitzero"`
	NextUpdate time.Time `json:"nextUpdate,omitzero"`
	Fetched    time.Time `json:"fetched,omitzero"`
	AgeSeconds int64     `json:"ageSeconds"`
	Entries    int       `json:"entries"`
	Usable     bool      `json:"usable"`
	Expiring   bool      `json:"expiring"`
	Error      string    `json:"error,omitzero"`   // how the last fetch failed
	Warning    string    `json:"warning,omitzero"` // what is odd about the CRL that counts
}
