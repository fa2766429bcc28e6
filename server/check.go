package server

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/label"
	"fhirdest.example/gateway/complaint"
)

// checkText checks what is written, before any file is opened.
func (c Config) checkText() error {
	c = c.withDefaults()
	var cs complaint.List
	c.checkListeners(&cs)
	return complaint.List{c.checkSite(), cs.Err()}.Err()
}

// checkSite is checkText for what a Site needs.
func (c Config) checkSite() error {
	var cs complaint.List
	c.checkURLs(&cs)
	c.checkWords(&cs)
	c.checkAmounts(&cs)
	c.checkCommunities(&cs)
	c.checkIDPs(&cs)
	c.Audit.check(&cs, c.FHIR)
	c.CORS.check(&cs)
	checkLab(c, &cs)
	storage{c}.check(&cs)

	return cs.Err()
}

func (c Config) checkURLs(cs *complaint.List) {
	if c.Public == "" {
		cs.Add("set it to the FHIR base URL that originators use, such as https://fhir.example.org/acme/fhir",
			"public: there is no public base URL")
		return
	}

	before := len(*cs)
	checkBase(cs, "public", c.Public)
	if c.Private != c.Public {
		checkBase(cs, "private", c.Private)
	}
	if c.Issuer != c.usualIssuer() {
		checkBase(cs, "issuer", c.Issuer)
	}

	if len(*cs) == before {
		c.checkPlaces(cs)
	}
}

// checkPlaces checks the three URLs against each other.
func (c Config) checkPlaces(cs *complaint.List) {
	if authority(c.Issuer) != authority(c.Public) {
		cs.Add("originators reach both through one gateway: give the issuer the host and port of public",
			"issuer: %s is not on the host of public (%s)", c.Issuer, c.Public)
	}
	if c.FHIR == "on" && c.Issuer == c.Public || strings.HasPrefix(c.Issuer, c.Public+"/") ||
		strings.HasPrefix(c.Public, c.Issuer+"/") {
		cs.Add("put them side by side, such as …/acme/fhir and …/acme/oauth",
			"issuer: %s and public %s stand inside one another", c.Issuer, c.Public)
	}

	if p, q := strings.TrimPrefix(c.Public, site(c.Public)), strings.TrimPrefix(c.Private,
		site(c.Private)); p != q {
		cs.Add("end both alike, such as /fhir: the paths below the site must agree",
			"private: %s ends in %q, public in %q", c.Private, q, p)
	}
}

// checkBase complains unless s is an https URL to which a path can be appended.
func checkBase(cs *complaint.List, key, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		cs.Add("write a whole URL, such as https://fhir.example.org/acme/fhir", "%s: %q is not a URL", key, s)
	case u.Scheme != "https":
		cs.Add("write https://…: UDAP and the exchange-routing guide ask for TLS on every exchange",
			"%s: %s is not an https URL", key, s)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(s, "#") ||
		u.User != nil:
		cs.Add("leave it out: a base URL is scheme, host and path", "%s: %s has a query, a fragment or a user",
			key, s)

	case strings.HasSuffix(s, "/"):
		cs.Add(
			fmt.Sprintf("write %s", strings.TrimRight(s, "/")),
			"%s: %s ends in a slash",
			key,
			s,
		)

	case u.Path == "":
		cs.Add("add one, such as /fhir", "%s: %s has no path", key, s)
	case !plainPath(u.EscapedPath()) || strings.ToLower(u.Host) != u.Host || u.String() != s:
		cs.Add("use lower-case host names, and letters, digits and . _ - ~ in the path, as certificates compare URLs "+
			"byte for byte", "%s: %s is not in its plainest form", key, s)
	}
}

// plainPath reports whether a path can be compared byte for byte: no escapes,
// no empty or dot segments.
func plainPath(p string) bool {
	for _, seg := range strings.Split(strings.TrimPrefix(p, "/"), "/") {
		if seg == "" || seg == "." || seg == ".." ||
			strings.Trim(seg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") != "" {
			return false
		}
	}
	return true
}

func authority(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Host
}

func (c Config) checkListeners(cs *complaint.List) {
	checkAddress(cs, "listen", c.Listen, "127.0.0.1:9443")
	checkAddress(cs, "admin.listen", c.Admin.Listen, "127.0.0.1:9480")
	if host, _, err := net.SplitHostPort(c.Admin.Listen); err == nil && !netname.Loopback(host) {
		cs.Add("give it a loopback address such as 127.0.0.1:9480: it speaks plain HTTP",
			"admin.listen: %s can be reached from other machines", c.Admin.Listen)
	}
	if c.Admin.Health != "" {
		checkAddress(cs, "admin.health", c.Admin.Health, "0.0.0.0:9482")
		if same := c.Admin.Health == c.Listen || c.Admin.Health == c.Admin.Listen; same &&
			!strings.HasSuffix(c.Admin.Health, ":0") {
			cs.Add("give it a port of its own", "admin.health: %s is another listener's address",
				c.Admin.Health)
		}
	}

	if c.Listen == c.Admin.Listen && !strings.HasSuffix(c.Listen, ":0") && c.Listen != "" {
		cs.Add("give each its own port", "listen and admin.listen are both %s", c.Listen)
	}

	for i, p := range c.Proxy {
		if _, err := netname.Prefix(p); err != nil {
			cs.Add(
				"write an IP address or a range such as 10.0.0.0/24",
				"proxy[%d]: %q is neither",
				i,
				p,
			)
		}
	}
}

func checkAddress(cs *complaint.List, key, addr, example string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		cs.Add(
			"write HOST:PORT, such as "+example,
			"%s: %q is not an address to listen on",
			key,
			addr,
		)
	}
}

func (c Config) checkWords(cs *complaint.List) {
	oneOf(cs, "explain", c.Explain, "operator", "client")
	oneOf(cs, "unknownCommunity", c.UnknownCommunity, "204", "default")
	oneOf(cs, "dpop.nonce", c.DPoP.Nonce, "optional", "required")
	oneOf(cs, "keyFiles", c.KeyFiles, "refuse", "group", "warn")
	oneOf(cs, "log", c.Log, "text", "json")
	oneOf(cs, "fhir", c.FHIR, "on", "off")
	oneOf(cs, "consents.default", c.Consents.Default, "deny", "permit")
	for _, purpose := range c.Consents.Deny {
		if !consent.KnownPurpose(purpose) {
			cs.Add("name one of HMARKT, HOPERAT, HPAYMT, HRESCH, PATRQT, PUBHLTH, TREAT or a narrower one",
				"consents.deny: %q is no purpose of use of v3-ActReason", purpose)
		}
	}
	oneOf(cs, "attachments", c.Attachments, "accept", "refuse")
	oneOf(cs, "provenance", c.Provenance, "on", "off")
}

func oneOf(cs *complaint.List, key, value string, words ...string) {
	if !slices.Contains(words, value) {
		cs.Add(
			"write one of: "+strings.Join(words, ", "),
			"%s: %q is not known",
			key,
			value,
		)
	}
}

func (c Config) checkAmounts(cs *complaint.List) {
	l := c.Limits
	t := c.Timeouts
	r := c.Rates
	for _, n := range []struct {
		key   string
		value int
	}{
		{"patients", c.Patients}, {"rates.requestsPerAddress", r.RequestsPerAddress},
		{"rates.registrationsPerCommunity", r.RegistrationsPerCommunity},
		{
			"rates.registrationsPerClient",
			r.RegistrationsPerClient,
		}, {"rates.tokensPerClient", r.TokensPerClient},
		{"rates.signInsPerAddress", r.SignInsPerAddress},
		{"rates.signInsPerUser", r.SignInsPerUser},
		{"rates.matchesPerClient", r.MatchesPerClient},
		{"limits.body", l.Body}, {"limits.connections", l.Connections},
		{"limits.perAddress", l.PerAddress}, {"limits.requests", l.Requests}, {"limits.traces", l.Traces},
		{"limits.tokenRequests", l.TokenRequests}, {
			"limits.requestsPerAddress",
			l.RequestsPerAddress,
		},
		{"limits.requestsPerClient", l.RequestsPerClient}, {"limits.rate", l.Rate},
		{"jobs.workers", c.Jobs.Workers}, {"jobs.perClient", c.Jobs.PerClient}, {"jobs.disk", c.Jobs.Disk},
		{"jobs.share", c.Jobs.Share},
	} {
		if n.value < 0 {
			cs.Add(
				"write 0 for the default, or a positive number",
				"%s: %d is negative",
				n.key,
				n.value,
			)
		}
	}

	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"timeouts.handshake", t.Handshake}, {"timeouts.header", t.Header}, {"timeouts.read", t.Read},
		{"timeouts.write", t.Write}, {"timeouts.idle", t.Idle}, {"timeouts.drain", t.Drain}, {"timeouts.slow", t.Slow},
		{"jobs.time", c.Jobs.Time}, {"jobs.keep", c.Jobs.Keep},
		{"revocation.refresh", c.Revocation.Refresh}, {"tokenLifetime", c.TokenLifetime},
	} {
		if d.value < 0 {
			cs.Add("leave it out for the default, or write a length of time such as 10s", "%s: %s is negative",
				d.key,
				d.value)
		}
	}

	// UDAP Security 2.0, 4.2: access tokens live for 60 minutes at most.
	if c.TokenLifetime > time.Hour {
		cs.Add(
			"write 60m or less",
			"tokenLifetime: %s is longer than UDAP allows",
			c.TokenLifetime,
		)
	}
}

func (c Config) checkCommunities(cs *complaint.List) {
	if len(c.Communities) == 0 {
		cs.Add("add at least one, with its anchors: without one nobody is trusted",
			"communities: there are none")
	}
	seen := map[string]int{}

	for i, m := range c.Communities {
		at := fmt.Sprintf("communities[%d]", i)
		if first, twice := seen[m.URI]; twice {
			cs.Add("give every community once, with all its anchors and certificates",
				"%s.uri: %s is already communities[%d]", at, m.URI, first)
		} else {
			seen[m.URI] = i
		}

		m.check(cs, at)
	}

	if own := func(m Community) bool {
		return len(m.Certificates) > 0
	}; len(c.Communities) > 0 && !slices.ContainsFunc(c.Communities, own) {
		cs.Add("name a chain and key that a community issued for the public base URL; one without gets no metadata, "+
			"but its clients are trusted", "communities: none has certificates")
	}

	c.checkOrigins(cs)
	c.checkAuditReaders(cs)
	checkLabels(c, cs)
}

func checkLabels(c Config, cs *complaint.List) {
	if _, err := label.New(c.Labels); err != nil {
		cs.Add("see labels in the README of cmd/destination", "%v", err)
	}

	for i, cleared := range c.Labels.Clearances {
		known := slices.ContainsFunc(c.Communities, func(m Community) bool {
			return m.URI == cleared.Community
		})
		if cleared.Community != "" && !known {
			cs.Add("write the uri of one of communities", "labels.clearances[%d].community: %s is none",
				i, cleared.Community)
		}
		if cleared.Community == "" && cleared.Client+cleared.Organization != "" && len(c.Communities) > 1 {
			cs.Add("add community: every community can issue a certificate for any URI",
				"labels.clearances[%d]: a client or organization without its community", i)
		}
	}
}

func (c Config) checkAuditReaders(cs *complaint.List) {
	for i, text := range c.AuditReaders {
		community, uri := c.auditReader(text)
		known := slices.ContainsFunc(
			c.Communities,
			func(m Community) bool {
				return m.URI == community
			},
		)
		if !isURI(uri) || !known && len(c.Communities) > 0 {
			cs.Add("write the URI of a member of the first community, or the URI of a configured community and that "+
				"of its member with a space between", "auditReaders[%d]: %q is neither", i, text)
		}
	}
}

func (m Community) check(cs *complaint.List, at string) {
	if u, err := url.Parse(m.URI); err != nil || u.Scheme == "" {
		cs.Add("write the URI that the community publishes, such as urn:oid:… or https://…",
			"%s.uri: %q is not an absolute URI", at, m.URI)
	}
	if len(m.Anchors) == 0 {
		cs.Add(
			"name the PEM file of its root certificate",
			"%s.anchors: there are none",
			at,
		)
	}
	m.policy(cs, at)

	for i, own := range m.Certificates {
		own.check(cs, fmt.Sprintf("%s.certificates[%d]", at, i))
	}
}

func (o Certificate) check(cs *complaint.List, at string) {
	switch {
	case o.P12 != "" && (o.Chain != "" || o.Key != ""):
		cs.Add(
			"keep chain and key, or p12",
			"%s: both a PKCS#12 file and PEM files are named",
			at,
		)
	case o.P12 == "" && (o.Chain == "" || o.Key == ""):
		cs.Add("name chain and key, or p12", "%s: no key pair is named", at)
	case o.PasswordFile != "" && o.P12 == "":
		cs.Add("leave it out: PEM keys are read unencrypted",
			"%s.passwordFile: there is no PKCS#12 file to open", at)
	}
}

// checkOrigins checks the places that may be asked over the network: each is
// compared whole, so a path or a missing scheme would never match.
func (c Config) checkOrigins(cs *complaint.List) {
	for i, m := range c.Communities {
		for j, o := range m.AIA {
			checkOrigin(cs, fmt.Sprintf("communities[%d].aia[%d]", i, j), o)
		}
	}
	for i, o := range c.Revocation.Allow {
		checkOrigin(cs, fmt.Sprintf("revocation.allow[%d]", i), o)
	}
}

func checkOrigin(cs *complaint.List, key, s string) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
		u.Scheme+"://"+u.Host != s {
		cs.Add("write scheme://host:port and nothing after it, such as http://localhost:9481",
			"%s: %q is not an origin", key, s)
	}
}
