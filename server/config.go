package server

import (
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/label"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/fetch"
)

// Config is the whole configuration of a destination. The zero value of a field is the
// strict or the usual one, as its comment says; Check finds out whether the
// whole can be started. Files are relative to Dir.
type Config struct {
	Dir string `yaml:"-"` // where relative paths start: the directory of the YAML file

	// Public is the FHIR base URL that originators know, such as
	// https://localhost:8443/acme/fhir. Every URL that the destination writes
	// and every audience that it checks starts from it.
	Public string `yaml:"public"`
	// Private is the FHIR base URL under which the last intermediary reaches
	// this server, such as https://destination.localhost:9443/acme/fhir.
	// Requests under it are taken, it is never written. Default: Public.
	Private string `yaml:"private,omitempty"`
	// Issuer is the authorization server. Default: the parent of Public plus
	// /oauth, here https://localhost:8443/acme/oauth.
	Issuer string `yaml:"issuer,omitempty"`

	Listen string `yaml:"listen"` // HOST:PORT of the TLS listener
	TLS    TLS    `yaml:"tls"`    // its certificate
	Admin  Admin  `yaml:"admin"`  // the second listener: traces, health, metrics
	// Data is the directory of the Bolt files and of jobs, made, 0700, when absent; or the
	// URL of a PostgreSQL database that destinations share: postgres://USER@HOST/DATABASE.
	Data     string   `yaml:"data"`
	Postgres Postgres `yaml:"postgres,omitempty"` // how that database is used
	Evidence string   `yaml:"evidence,omitempty"` // file of evidence lines; empty: none are written
	Hop      string   `yaml:"hop,omitempty"`      // name of this hop in evidence; default "destination"
	// Attachments says what becomes of a resource with an attachment whose size or
	// hash does not fit its data: "refuse" (default: 422), or "accept".
	Attachments string `yaml:"attachments,omitempty"`
	// Provenance is whether each change of a resource has a Provenance that the
	// destination makes, or that the header X-Provenance brings: "on" (default) or "off".
	Provenance string `yaml:"provenance,omitempty"`
	// Consents is what counts where a patient's Consents decide nothing, or deny.
	Consents Consents `yaml:"consents,omitempty"`
	// FHIR is "on" (default), or "off" for an identity provider: a server of people and
	// their sign-in that has no FHIR service. Its issuer is its public base by default.
	FHIR string `yaml:"fhir,omitempty"`
	// a private key that others may read: "refuse" (default), "group" (the file's group may read it, as
	// with a mounted secret) or "warn"
	KeyFiles string `yaml:"keyFiles,omitempty"`

	// Proxy lists the addresses (IP or CIDR) of the gateways that open each
	// connection with a PROXY protocol v2 header. A connection from one of
	// them must have the header, one from elsewhere must not.
	Proxy []string `yaml:"proxy,omitempty"`

	Log string `yaml:"log,omitempty"` // form of the log: "text" (default) or "json"
	// who learns why a request was refused: "operator" (default), or "client" as in a sandbox
	Explain string `yaml:"explain,omitempty"`
	// metadata for a community that is not ours: "204" (default) or "default"
	UnknownCommunity string `yaml:"unknownCommunity,omitempty"`
	// in order of precedence; the first is the default one
	Communities []Community `yaml:"communities"`
	// file of the people who can sign in, made by "destination user add"; read again when it changes. None:
	// nobody can, and clients get no access on behalf of a person
	Users string `yaml:"users,omitempty"`
	// PEM file of RSA private keys: the first signs ID tokens, all are published. Default: a file in data, with
	// a key that the destination makes, and replaces every 90 days
	IDTokenKeys string `yaml:"idTokenKeys,omitempty"`
	// of the organisation, shown to people who sign in; default: the host of issuer
	Name string `yaml:"name,omitempty"`
	// identity providers at which people may sign in when a client names one
	IDPs       []IDP      `yaml:"idps,omitempty"`
	Revocation Revocation `yaml:"revocation,omitempty"`
	Rates      Rates      `yaml:"rates,omitempty"`
	DPoP       DPoP       `yaml:"dpop,omitempty"`
	CORS       CORS       `yaml:"cors,omitempty"`

	Writable bool `yaml:"writable,omitempty"` // grant scopes that change data, too
	// Clients that may read the audit records of all, not of their own requests only:
	// each the URI of a member of the first community, or the URI of a community and
	// that of its member with a space between.
	AuditReaders []string `yaml:"auditReaders,omitempty"`
	// Labels is what is done about security labels: who is cleared for what, which labels
	// rules imply, which elements are masked. None: labels R, V and those of sensitive
	// information hide a resource, but R in an emergency.
	Labels label.Policy `yaml:"labels,omitempty"`
	// size of the synthetic population seeded into an empty fhir.bolt; 0: none
	Patients      int           `yaml:"patients,omitempty"`
	TokenLifetime time.Duration `yaml:"tokenLifetime,omitempty"` // of access tokens; default and at most 60m
	Limits        Limits        `yaml:"limits,omitempty"`
	Jobs          Jobs          `yaml:"jobs,omitempty"`
	Audit         Audit         `yaml:"audit,omitempty"`
	Timeouts      Timeouts      `yaml:"timeouts,omitempty"`

	// Lab is the place for sessions of clients under test; none: there is none.
	Lab *lab.Settings `yaml:"lab,omitempty"`

	session string // URL of the session whose site this is, ending in a slash; empty: the destination itself
}

// Postgres is how a destination uses the database that data names.
type Postgres struct {
	// Name is that of this destination among those on the database: each has its own.
	// It names its chain of audit records. Default: the host's name.
	Name string `yaml:"name,omitempty"`
	// file whose first line is the password; default: what PGPASSFILE or ~/.pgpass has
	PasswordFile string `yaml:"passwordFile,omitempty"`
	// of each of the three stores at most; default 16
	Connections int `yaml:"connections,omitempty"`
}

// TLS is the certificate of the private URL, and who may connect.
type TLS struct {
	Cert string `yaml:"cert"` // PEM file, leaf first
	Key  string `yaml:"key"`  // PEM file, unencrypted
	// PEM file of CAs; set: a caller without a client certificate of theirs is turned away in the
	// handshake
	ClientCA string `yaml:"clientCA,omitempty"`
}

// Admin is the second listener. The gateway never reaches it.
type Admin struct {
	Listen string `yaml:"listen"` // HOST:PORT, plain HTTP; must be a loopback address
	// HOST:PORT, plain HTTP, any address: a further listener for /health and /ready and nothing else, for
	// probes
	Health string `yaml:"health,omitempty"`
	Open   bool   `yaml:"open,omitempty"` // without it only /health and /ready answer: sign-in is not built yet
	// further names accepted in the Host header, without port; localhost and the loopback addresses always
	// are
	Hosts []string `yaml:"hosts,omitempty"`
	URL   string   `yaml:"url,omitempty"` // how people reach it, for links to traces; default http:// plus Listen
}

// Community is one trust community that this destination belongs to.
type Community struct {
	URI  string `yaml:"uri"`
	Name string `yaml:"name,omitempty"` // shown to people; default: the URI
	// PEM or DER files of CA certificates; like all of a community's files read again when they change
	Anchors []string `yaml:"anchors"`
	// further CAs for building paths, not trusted by themselves; those of our own chains are known
	Intermediates []string `yaml:"intermediates,omitempty"`
	Profile       string   `yaml:"profile,omitempty"` // "ssraa-2" (default), "ssraa-1" or "tefca"
	Policy        Policy   `yaml:"policy,omitempty"`  // departures from the profile
	// our own in this community; one with an RSA key signs the metadata
	Certificates  []Certificate `yaml:"certificates"`
	SharedAnchors bool          `yaml:"sharedAnchors,omitempty"` // an anchor may be one of an earlier community too
	// scheme://host[:port] from which missing intermediates may be fetched; empty: nowhere
	AIA []string `yaml:"aia,omitempty"`
	// Lists are CRL files, or http(s) URLs of CRLs, for certificates that name
	// no distribution point of their own.
	Lists []string `yaml:"lists,omitempty"`
}

// Certificate is a key pair that the destination holds in a community: Chain
// and Key, or a PKCS#12 file.
type Certificate struct {
	Chain        string `yaml:"chain,omitempty"`        // PEM file, leaf first
	Key          string `yaml:"key,omitempty"`          // PEM file, unencrypted
	P12          string `yaml:"p12,omitempty"`          // PKCS#12 file with both
	PasswordFile string `yaml:"passwordFile,omitempty"` // file whose first line opens it; none: the empty password
}

// Policy changes single rules of a community's profile. A field that is
// absent leaves the profile's rule.
type Policy struct {
	Edition               *int           `yaml:"edition,omitempty"` // of UDAP Security: 2 or 1
	Algorithms            []string       `yaml:"algorithms,omitempty"`
	Skew                  *time.Duration `yaml:"skew,omitempty"`
	AllowLoopbackRedirect *bool          `yaml:"allowLoopbackRedirect,omitempty"`
	B2BOptional           *bool          `yaml:"b2bOptional,omitempty"`
	HL7B2BUser            *string        `yaml:"hl7B2BUser,omitempty"`   // "optional", "required" or "off"
	PurposeCodes          *string        `yaml:"purposeCodes,omitempty"` // "uri" or "any"
	// refuse a token request without scope; else it gets the registered ones, with a warning
	ScopeRequired         *bool    `yaml:"scopeRequired,omitempty"`
	PurposesOfUse         []string `yaml:"purposesOfUse,omitempty"`
	OrganizationIDSchemes []string `yaml:"organizationIdSchemes,omitempty"`
	RequiredMetadata      []string `yaml:"requiredMetadata,omitempty"`
	Certifications        []string `yaml:"certifications,omitempty"`
	CertificationsNeeded  []string `yaml:"certificationsRequired,omitempty"`
	// whose certifications count; a required one needs one of them
	Certifiers []Certifier `yaml:"certifiers,omitempty"`
	// TEFCA: one purpose_of_use, that of the fragment of the client's URI
	PurposeFromSAN    *bool    `yaml:"purposeFromSAN,omitempty"`
	ExtendedKeyUsages []string `yaml:"extendedKeyUsages,omitempty"` // dotted OIDs
	// dotted OIDs: a path must be valid for one
	CertificatePolicies []string `yaml:"certificatePolicies,omitempty"`
	Revocation          *string  `yaml:"revocation,omitempty"` // "required", "soft" or "off"
	// experimental: follow a registered jwks_uri where an authentication token has jku and kid in place of
	// x5c
	JKU        *bool `yaml:"jku,omitempty"`
	UDAPNumber *bool `yaml:"udapNumber,omitempty"` // accept "udap": 1 with a warning
}

// Certifier is a member of the community whose certifications count. In YAML it
// is a URI, the word "self" for clients that certify themselves, or an object.
type Certifier struct {
	URI            string   `yaml:"uri"`
	Certifications []string `yaml:"certifications,omitempty"` // certification URIs that it may assert; none: all
}

// UnmarshalYAML accepts a URI alone for a certifier of all certifications.
func (c *Certifier) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&c.URI) == nil {
		return nil
	}
	type object Certifier
	return unmarshal((*object)(c))
}

// Revocation configures how CRLs are fetched.
type Revocation struct {
	Refresh time.Duration `yaml:"refresh,omitempty"` // each list again after this; default 5m
	// exact scheme://host:port that may be a loopback or private address
	Allow []string `yaml:"allow,omitempty"`
}

// DPoP configures how access tokens are bound to keys of their clients (RFC 9449).
type DPoP struct {
	// whether each proof must have a nonce of this server: "optional" (default: a proof
	// that was made for any time is then limited by its iat alone) or "required"
	Nonce string `yaml:"nonce,omitempty"`
}

// Rates bound how often one party is served in a minute; further requests get
// 429 with Retry-After. 0: no limit, except where a default is named.
type Rates struct {
	// RequestsPerAddress counts all requests to the authorization server, before
	// anything in them is read. Default: 6000 behind gateways under proxy:,
	// where each originator has its own address; else none, because everybody
	// comes from the gateway's.
	RequestsPerAddress int `yaml:"requestsPerAddress,omitempty"`
	// with a good statement, of one trust community
	RegistrationsPerCommunity int `yaml:"registrationsPerCommunity,omitempty"`
	// with a good statement, of one certificate
	RegistrationsPerClient int `yaml:"registrationsPerClient,omitempty"`
	// authenticated requests with one certificate
	TokensPerClient int `yaml:"tokensPerClient,omitempty"`
	// Wrong passwords from one address (default 300), and for one username from one
	// address or one browser (default 10).
	SignInsPerAddress int `yaml:"signInsPerAddress,omitempty"`
	SignInsPerUser    int `yaml:"signInsPerUser,omitempty"`
	// requests for Patient/$match; default 120
	MatchesPerClient int `yaml:"matchesPerClient,omitempty"`
}

// defaultRequestsPerAddress is 100 a second: many times what a test kit of the
// field sends, and less of a processor than one core for requests of strangers.
const defaultRequestsPerAddress = 6000

// defaultMatchesPerClient lets a client find the patients of a day's appointments
// at once, and not go through lists of people.
const defaultMatchesPerClient = 120

// Limits bound what a client may send and hold. A request's head may always
// have 64 KiB, as at the gateway.
type Limits struct {
	// bytes of a request's body; default 33554432. Eight such bodies may be in memory at once, half of them of
	// one client, or of all clients that are not known; more get 503. What is shorter than 16 KiB or than a
	// thirty-second part of it always has room.
	Body        int `yaml:"body,omitempty"`
	Connections int `yaml:"connections,omitempty"` // open at once; default 4096
	// open at once from one address, or one /64 of IPv6; default half of connections; gateways under
	// proxy: have no limit
	PerAddress int `yaml:"perAddress,omitempty"`
	Traces     int `yaml:"traces,omitempty"` // decisions kept in memory; default 1000

	// Requests and TokenRequests bound what the FHIR service and the authorization
	// server work on at once; default 512 each. A request counts from when it has
	// arrived whole until its answer begins. Further ones wait a little, then get 503.
	Requests      int `yaml:"requests,omitempty"`
	TokenRequests int `yaml:"tokenRequests,omitempty"`
	// RequestsPerAddress and RequestsPerClient are the shares of one address (or one
	// /64 of IPv6) and of one registered client in each of them; default a half and a quarter.
	RequestsPerAddress int `yaml:"requestsPerAddress,omitempty"`
	RequestsPerClient  int `yaml:"requestsPerClient,omitempty"`
	// Rate is the least number of bytes a second at which a body must arrive and an
	// answer be read, once timeouts.slow has passed; default 500.
	Rate int `yaml:"rate,omitempty"`
}

// Timeouts end what takes too long.
type Timeouts struct {
	Handshake time.Duration `yaml:"handshake,omitempty"` // TLS; default 10s
	Header    time.Duration `yaml:"header,omitempty"`    // a request's head; default 10s
	Read      time.Duration `yaml:"read,omitempty"`      // a whole request; default 60s
	Write     time.Duration `yaml:"write,omitempty"`     // a whole answer; default 120s
	Idle      time.Duration `yaml:"idle,omitempty"`      // between requests; default 120s
	Slow      time.Duration `yaml:"slow,omitempty"`      // below limits.rate; default 10s
	Drain     time.Duration `yaml:"drain,omitempty"`     // at the end, for requests under way; default 10s
}

// withDefaults returns the configuration with the stated defaults filled in.
func (c Config) withDefaults() Config {
	or(&c.Private, c.Public)
	or(&c.FHIR, "on")
	or(&c.Issuer, c.usualIssuer())
	or(&c.Hop, "destination")
	or(&c.KeyFiles, "refuse")
	or(&c.Rates.MatchesPerClient, defaultMatchesPerClient)
	or(&c.Attachments, "refuse")
	or(&c.Provenance, "on")
	or(&c.Consents.Default, "permit")
	or(&c.Log, "text")
	or(&c.Explain, "operator")

	or(&c.UnknownCommunity, "204")
	or(&c.DPoP.Nonce, "optional")

	or(&c.Admin.URL, "http://"+c.Admin.Listen)
	or(&c.TokenLifetime, oauth.MaxTokenLifetime)

	or(&c.Revocation.Refresh, fetch.DefaultRefresh)
	if len(c.Proxy) > 0 {
		or(&c.Rates.RequestsPerAddress, defaultRequestsPerAddress)
	}

	c.Limits = c.Limits.withDefaults()
	c.Timeouts = c.Timeouts.withDefaults()
	return c
}

// usualIssuer is the issuer that needs no configuration: beside the FHIR base, or,
// for an identity provider, its base itself (OpenID Connect Core 2: an ID token's
// iss is the URL that clients know the provider by).
func (c Config) usualIssuer() string {
	if c.FHIR == "off" {
		return c.Public
	}
	return site(c.Public) + "/oauth"
}

func (l Limits) withDefaults() Limits {
	or(&l.Body, fhir.DefaultMaxBody)
	or(&l.Connections, 4096)
	or(&l.PerAddress, max(l.Connections/2, 1))
	or(&l.Requests, 512)
	or(&l.TokenRequests, 512)
	or(&l.Rate, 500)
	or(&l.Traces, 1000)
	return l
}

func (t Timeouts) withDefaults() Timeouts {
	or(&t.Handshake, wire.DefaultHandshake)
	or(&t.Header, 10*time.Second)
	or(&t.Read, time.Minute)
	or(&t.Write, 2*time.Minute)
	or(&t.Idle, 2*time.Minute)
	or(&t.Slow, 10*time.Second)
	or(&t.Drain, 10*time.Second)
	return t
}

func or[T comparable](p *T, otherwise T) {
	var zero T
	if *p == zero {
		*p = otherwise
	}
}

// site is the URL one path segment above a FHIR base.
func site(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return ""
	}
	if i := strings.LastIndexByte(base, '/'); i > strings.Index(base, "://")+2 {
		return base[:i]
	}
	return base
}

// file is the path of a configured file as the program opens it.
func (c Config) file(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Dir, name)
}

// Consents is the policy beside the patients' Consents.
type Consents struct {
	// Default is "permit" (default) or "deny" where no Consent of the patient decides.
	Default string `yaml:"default,omitempty"`
	// Deny are purposes of use (v3-ActReason, narrower ones included) for which a
	// Consent must permit, whatever the default.
	Deny []string `yaml:"deny,omitempty"`
	// BreakGlass lets emergency access pass what Consents deny.
	BreakGlass bool `yaml:"breakGlass,omitempty"`
}

// policy is what the FHIR service is given.
func (c Consents) policy() consent.Policy {
	p := consent.Policy{
		Denied:     c.Deny,
		BreakGlass: c.BreakGlass,
	}
	if c.Default == "deny" {
		p.Denied = []string{"*"}
	}
	return p
}
