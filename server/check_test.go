package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/label"
	"fhirdest.example/gateway/complaint"
)

// plausible is a configuration with nothing wrong in its text.
func plausible() Config {
	return Config{
		Public:  "https://localhost:8443/acme/fhir",
		Private: "https://destination.localhost:9443/acme/fhir",
		Listen:  "127.0.0.1:9443",
		TLS:     TLS{Cert: "tls.pem", Key: "tls.key"},
		Admin:   Admin{Listen: "127.0.0.1:9480"},
		Data:    "data",
		Communities: []Community{{
			URI: "urn:oid:1.2.3", Anchors: []string{"a.pem"},
			Certificates: []Certificate{{Chain: "c.pem", Key: "c.key"}},
		}},
	}
}

func texts(err error) []string {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return nil
	}
	var out []string
	for _, e := range joined.Unwrap() {
		out = append(out, e.Error())
	}
	return out
}

// A textCase is a configuration that is wrong in one way.
type textCase struct {
	name string
	bad  func(*Config)
	want string // start of the one complaint; empty: none
}

func (c textCase) check(t *testing.T) {
	cfg := plausible()
	c.bad(&cfg)
	got := texts(cfg.checkText())
	if c.want == "" && len(got) == 0 {
		return
	}
	if len(got) != 1 || !strings.HasPrefix(got[0], c.want) || c.want == "" {
		t.Errorf("complaints %q, want one that starts with %q", got, c.want)
	}
}

// Covers: case 326
func TestCheckTextOfAddresses(t *testing.T) {
	for _, c := range []textCase{
		{"no public", func(c *Config) { c.Public = "" }, "public: there is no public base URL"},
		{"http public", func(c *Config) {
			c.Public = "http://localhost:8443/acme/fhir"
		}, "public: http://localhost:8443/acme/fhir is not an https URL"},
		{"slash", func(c *Config) {
			c.Private = "https://destination.localhost/acme/fhir/"
		}, "private: https://destination.localhost/acme/fhir/ ends in a slash"},
		{"query", func(c *Config) {
			c.Private = "https://destination.localhost/acme/fhir?x"
		}, "private: https://destination.localhost/acme/fhir?x has a query"},
		{"user", func(c *Config) {
			c.Private = "https://me@destination.localhost/acme/fhir"
		}, "private: https://me@destination.localhost/acme/fhir has a query, a fragment or a user"},
		{"no path", func(c *Config) {
			c.Issuer = "https://localhost:8443"
		}, "issuer: https://localhost:8443 has no path"},
		{"dots", func(c *Config) {
			c.Private = "https://destination.localhost/x/../acme/fhir"
		}, "private: https://destination.localhost/x/../acme/fhir is not in its plainest form"},
		{"escape", func(c *Config) {
			c.Private = "https://destination.localhost/%61cme/fhir"
		}, "private: https://destination.localhost/%61cme/fhir is not in its plainest form"},
		{"capital host", func(c *Config) {
			c.Private = "https://Destination.localhost/acme/fhir"
		}, "private: https://Destination.localhost/acme/fhir is not in its plainest form"},
		{"not a URL", func(c *Config) { c.Private = "destination" }, `private: "destination" is not a URL`},
		{"issuer elsewhere", func(c *Config) {
			c.Issuer = "https://other.test/oauth"
		}, "issuer: https://other.test/oauth is not on the host of public"},
		{"issuer inside", func(c *Config) {
			c.Issuer = c.Public + "/oauth"
		}, "issuer: https://localhost:8443/acme/fhir/oauth and public"},
		{"ends differ", func(c *Config) {
			c.Private = "https://destination.localhost/acme/r4"
		}, `private: https://destination.localhost/acme/r4 ends in "/r4"`},
		{"no listen", func(c *Config) { c.Listen = "" }, `listen: "" is not an address`},
		{"bad port", func(c *Config) { c.Listen = "127.0.0.1:99999" }, `listen: "127.0.0.1:99999" is not an address`},
		{"open admin", func(c *Config) {
			c.Admin.Listen = "0.0.0.0:9480"
		}, "admin.listen: 0.0.0.0:9480 can be reached from other machines"},
		{"same port", func(c *Config) { c.Admin.Listen = c.Listen }, "listen and admin.listen are both"},
		{"proxy", func(c *Config) { c.Proxy = []string{"gateway"} }, `proxy[0]: "gateway" is neither`},
	} {
		t.Run(c.name, c.check)
	}
}

// Covers: case 326
func TestCheckTextOfSettings(t *testing.T) {
	for _, c := range []textCase{
		{"nothing wrong", func(*Config) {}, ""},
		{"no data", func(c *Config) { c.Data = "" }, "data: there is no data directory"},
		{"explain", func(c *Config) { c.Explain = "all" }, `explain: "all" is not known`},
		{"DPoP nonce", func(c *Config) { c.DPoP.Nonce = "no" }, `dpop.nonce: "no" is not known`},
		{"unknown community", func(c *Config) { c.UnknownCommunity = "404" }, `unknownCommunity: "404" is not known`},
		{"provenance", func(c *Config) { c.Provenance = "some" }, `provenance: "some" is not known`},
		{"attachments", func(c *Config) { c.Attachments = "warn" }, `attachments: "warn" is not known`},
		{"key files", func(c *Config) { c.KeyFiles = "ignore" }, `keyFiles: "ignore" is not known`},
		{"negative number", func(c *Config) { c.Limits.Body = -1 }, "limits.body: -1 is negative"},
		{"negative time", func(c *Config) { c.Timeouts.Idle = -1 }, "timeouts.idle: -1ns is negative"},
		{"long token", func(c *Config) {
			c.TokenLifetime = 2 * time.Hour
		}, "tokenLifetime: 2h0m0s is longer than UDAP allows"},
		{"allow", func(c *Config) {
			c.Revocation.Allow = []string{"localhost:1"}
		}, `revocation.allow[0]: "localhost:1" is not an origin`},
	} {
		t.Run(c.name, c.check)
	}
}

// Covers: case 326
func TestCheckTextOfCommunities(t *testing.T) {
	edition3, word, skew := 3, "perhaps", 10*time.Minute
	for _, c := range []textCase{
		{"no communities", func(c *Config) { c.Communities = nil }, "communities: there are none"},
		{"community twice", func(c *Config) {
			c.Communities = append(c.Communities, c.Communities[0])
		}, "communities[1].uri: urn:oid:1.2.3 is already communities[0]"},
		{"community URI", func(c *Config) {
			c.Communities[0].URI = "mine"
		}, `communities[0].uri: "mine" is not an absolute URI`},
		{"no anchors", func(c *Config) { c.Communities[0].Anchors = nil }, "communities[0].anchors: there are none"},
		{"no certificates", func(c *Config) {
			c.Communities[0].Certificates = nil
		}, "communities: none has certificates"},
		{"half a pair", func(c *Config) {
			c.Communities[0].Certificates[0].Key = ""
		}, "communities[0].certificates[0]: no key pair is named"},
		{"two pairs", func(c *Config) {
			c.Communities[0].Certificates[0].P12 = "c.p12"
		}, "communities[0].certificates[0]: both a PKCS#12 file and PEM files"},
		{"idle password", func(c *Config) {
			c.Communities[0].Certificates[0].PasswordFile = "p"
		}, "communities[0].certificates[0].passwordFile: there is no PKCS#12 file"},
		{"profile", func(c *Config) {
			c.Communities[0].Profile = "mine"
		}, `communities[0].profile: "mine" is not known`},
		{"edition", func(c *Config) {
			c.Communities[0].Policy.Edition = &edition3
		}, "communities[0].policy.edition: there is no edition 3"},
		{"purposes", func(c *Config) {
			c.Communities[0].Policy.PurposeCodes = &word
		}, `communities[0].policy.purposeCodes: "perhaps"`},
		{"revocation", func(c *Config) {
			c.Communities[0].Policy.Revocation = &word
		}, `communities[0].policy.revocation: "perhaps"`},
		{"skew", func(c *Config) { c.Communities[0].Policy.Skew = &skew }, "communities[0].policy.skew: 10m0s"},
		{"algorithm", func(c *Config) {
			c.Communities[0].Policy.Algorithms = []string{"HS256"}
		}, `communities[0].policy.algorithms[0]: "HS256"`},
		{"aia", func(c *Config) {
			c.Communities[0].AIA = []string{"http://localhost:1/x"}
		}, `communities[0].aia[0]: "http://localhost:1/x" is not an origin`},
	} {
		t.Run(c.name, c.check)
	}
}

// Covers: case 326
func TestEveryComplaintHasARemedy(t *testing.T) {
	err := Config{Public: "http://x/", Listen: "x", Explain: "?", Patients: -1}.checkText()
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) < 6 {
		t.Fatalf("complaints: %v", err)
	}

	for _, e := range joined.Unwrap() {
		var c *complaint.Complaint
		if !errors.As(e, &c) || c.Hint() == "" {
			t.Errorf("%v has no remedy", e)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := plausible()
	c.Private = ""
	c = c.withDefaults()
	if c.Issuer != "https://localhost:8443/acme/oauth" || c.Private != c.Public ||
		c.Admin.URL != "http://127.0.0.1:9480" ||
		c.TokenLifetime != time.Hour || c.Limits.Body != 32<<20 || c.Timeouts.Header != 10*time.Second {
		t.Errorf("defaults: %+v", c)
	}

	if c.Rates.RequestsPerAddress != 0 {
		t.Errorf("all clients of a gateway share %d requests a minute", c.Rates.RequestsPerAddress)
	}
	c.Proxy = []string{"10.0.0.1"}
	if got := c.withDefaults().Rates.RequestsPerAddress; got != 6000 {
		t.Errorf("behind a gateway that names addresses: %d requests a minute of one", got)
	}

	if got := site("https://h/fhir"); got != "https://h" {
		t.Errorf("site of a base with one segment: %q", got)
	}
}

func TestCheckTextOfAuditReaders(t *testing.T) {
	readers := func(texts ...string) func(*Config) {
		return func(c *Config) { c.AuditReaders = texts }
	}
	for _, c := range []textCase{
		{"a member of the first community", readers("https://a.example/x"), ""},
		{"with its community", readers("urn:oid:1.2.3 https://a.example/x"), ""},
		{"of another community", readers("urn:oid:1.2.4 https://a.example/x"), "auditReaders[0]: "},
		{"no URI", readers("https://a.example/x", "auditor"), "auditReaders[1]: "},
		{"three", readers("urn:oid:1.2.3 https://a.example/x https://a.example/y"), "auditReaders[0]: "},
	} {
		t.Run(c.name, c.check)
	}
}

func TestCheckTextOfLabels(t *testing.T) {
	clearance := func(cl label.Clearance) func(*Config) {
		return func(c *Config) { c.Labels.Clearances = []label.Clearance{cl} }
	}
	rule := func(r label.Rule) func(*Config) {
		return func(c *Config) { c.Labels.Rules = []label.Rule{r} }
	}
	mask := func(m label.Mask) func(*Config) {
		return func(c *Config) { c.Labels.Masks = []label.Mask{m} }
	}
	patient := []string{"Patient"}

	for _, c := range []textCase{
		{"a clearance", clearance(label.Clearance{Community: "urn:oid:1.2.3", Level: "R"}), ""},
		{"no level", clearance(label.Clearance{Level: "X"}), "labels: clearances[0].level"},
		{"another community", clearance(label.Clearance{Community: "urn:x"}), "labels.clearances[0].community"},
		{"a rule", rule(label.Rule{Types: patient, Labels: []string{"R"}}), ""},
		{"no labels", rule(label.Rule{Types: patient}), "labels: rules[0]"},
		{"no type", rule(label.Rule{Types: []string{"Patienten"}, Labels: []string{"R"}}), "labels: rules[0].types"},
		{"no system", rule(label.Rule{Codes: []string{"7917-8"}, Labels: []string{"R"}}), "labels: rules[0]"},
		{"a mask", mask(label.Mask{Types: patient, Elements: []string{"address", "name.given"}}), ""},
		{"no such element", mask(label.Mask{Types: patient, Elements: []string{"adress"}}), "labels: masks[0].elements"},
		{"the id", mask(label.Mask{Types: patient, Elements: []string{"id"}}), "labels: masks[0].elements"},
		{
			"the subject", mask(label.Mask{Types: []string{"Observation"}, Elements: []string{"subject"}}),
			"labels: masks[0].elements",
		},
		{"no elements", mask(label.Mask{Types: patient}), "labels: masks[0]"},
		{"an emergency for all", func(c *Config) { c.Labels.BreakGlass = "all" }, "labels: breakGlass"},
		{"an unknown level", func(c *Config) { c.Labels.Unknown = "secret" }, "labels: unknown"},
	} {
		t.Run(c.name, c.check)
	}
}
