package udap_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const (
	certURI  = "https://certifier.test/basic"
	otherURI = "https://certifier.test/other"
)

// certified is an environment with a client that registers, and a certifier.
type certified struct {
	w         *udaptest.Env
	client    *udaptest.Client
	certifier *udaptest.Client
	claims    udaptest.Claims // of the software statement
}

func newCertified(t *testing.T, needed ...string) *certified {
	w := udaptest.New(t, "p256")
	w.A.Community.Policy.Certifications = []string{certURI}
	w.A.Community.Policy.CertificationsNeeded = needed
	if len(needed) > 0 {
		w.A.Community.Policy.Certifiers = []udap.Certifier{{URI: "https://certifier.test/"}}
	}
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	return &certified{
		w,
		c,
		w.ClientWith(t, w.A.Int, "https://certifier.test/", udaptest.Key(t, "p256", 50), nil),
		c.Interactive(w.Now),
	}
}

func (c *certified) good() udaptest.Claims {
	return udaptest.Claims{
		"iss": "https://certifier.test/", "sub": udaptest.Client1URI, "jti": udaptest.JTI(),
		"iat": c.w.Now.Add(-time.Hour).Unix(), "exp": c.w.Now.AddDate(2, 0, 0).Unix(),
		"certification_name": "Basic", "certification_uris": []string{certURI}, "grant_types": []string{"authorization_code", "refresh_token"},
	}
}

func (c *certified) check(t *testing.T, list ...string) ([]udap.Certification, *trace.Trace, error) {
	t.Helper()
	ss, tr, err := statement(c.w, c.client.Sign(t, c.claims))
	if err != nil {
		t.Fatal(err)
	}
	good, err := c.w.Verifier().Certifications(ctx, list, ss, udap.Expect{
		Now:      c.w.Now,
		Audience: udaptest.Registration,
		OurURLs:  ourURLs,
	}, tr)
	return good, tr, err
}

// Covers: S1-116, S1-117, S1-118, S2-17, case 117
func TestCertifications(t *testing.T) {
	c := newCertified(t)
	self := c.good().With("iss", udaptest.Client1URI)
	good, tr, err := c.check(t, c.certifier.Sign(t, c.good()), c.client.Sign(t, self),
		c.certifier.Sign(t, c.good().With("aud", udaptest.Registration)), c.certifier.Sign(t,
			c.good().With("aud", []string{"https://x.test/", "https://fhir.test/oauth"})))
	if err != nil || len(good) != 4 || good[0].SelfSigned || !good[1].SelfSigned || good[0].Name != "Basic" {
		t.Errorf("%d accepted, %v: %+v", len(good), err, tr.Warnings())
	}

	name := strconv.QuoteToASCII(c.claims["client_name"].(string))
	escaped := jsontext.Value(`"\u00` + hex.EncodeToString([]byte(name[1:2])) + name[2:])
	good, tr, err = c.check(t, c.certifier.Sign(t, c.good().With("client_name", escaped)))
	if err != nil || len(good) != 1 {
		t.Errorf("name written with an escape: %v, %+v", err, tr.Warnings())
	}

	good, tr, err = c.check(t, c.certifier.Sign(t, c.good().With("certification_uris", []string{otherURI})))
	if err != nil || len(good) != 0 || len(tr.Warnings()) != 0 {
		t.Errorf("one that is not supported: %v, %v", good, err)
	}
	if good, _, err = c.check(t); err != nil || good != nil {
		t.Errorf("none: %v, %v", good, err)
	}
	if _, _, err = c.check(t, many(1000, "x")...); err == nil {
		t.Error("a thousand certifications are judged")
	}
}

// A bad one is left out; where it is required, it says which code.
// Covers: S1-116, S2-17, case 109, case 117
func TestBadCertifications(t *testing.T) {
	stranger := func(c *certified, t *testing.T) *udaptest.Client {
		return c.w.Client(t, c.w.X.Int, "https://certifier.test/", nil)
	}
	now := udaptest.Now
	for _, k := range []struct {
		name string
		make func(t *testing.T, c *certified) string
		code trace.Code
	}{
		{"bad signature", func(t *testing.T, c *certified) string {
			other := *c.certifier
			other.Key = c.client.Key
			return other.Sign(t, c.good())
		}, trace.InvalidCertification},
		{"untrusted signer", func(t *testing.T, c *certified) string {
			return stranger(c, t).Sign(t, c.good())
		}, trace.UnapprovedCertification},
		{"another community's signer", func(t *testing.T, c *certified) string {
			return c.w.Client(t, c.w.B.Int, "https://certifier.test/", nil).Sign(t, c.good())
		}, trace.UnapprovedCertification},
		{"revoked signer", func(t *testing.T, c *certified) string {
			c.w.Publish(t, c.w.A.Int, c.certifier.Leaf().SerialNumber)
			return c.certifier.Sign(t, c.good())
		}, trace.UnapprovedCertification},
		{"expired certificate", func(t *testing.T, c *certified) string {
			return c.w.Client(t, c.w.A.Int, "https://certifier.test/", func(t *certs.Template) {
				t.NotAfter = now.Add(-time.Hour)
			}).Sign(t, c.good())
		}, trace.UnapprovedCertification},
		{
			"expired",
			with("exp", now.Add(-time.Hour).Unix(), "iat", now.Add(-2*time.Hour).Unix()),
			trace.InvalidCertification,
		},
		{"four years", with("exp", now.AddDate(4, 0, 0).Unix()), trace.InvalidCertification},
		{"iss", with("iss", "https://other.test/"), trace.InvalidCertification},
		{"sub", with("sub", udaptest.Client2URI), trace.InvalidCertification},
		{"no sub", with("sub", udaptest.Absent), trace.InvalidCertification},
		{"aud", with("aud", "https://other.test/register"), trace.InvalidCertification},
		{"aud kind", with("aud", 1), trace.InvalidCertification},
		{"no jti", with("jti", udaptest.Absent), trace.InvalidCertification},
		{"no name", with("certification_name", udaptest.Absent), trace.InvalidCertification},
		{"grants contradict", with("grant_types", []string{"client_credentials"}), trace.InvalidCertification},
		{"name contradicts", with("client_name", "Other"), trace.InvalidCertification},
		{"scope contradicts", with("scope", "openid"), trace.InvalidCertification},
		{
			"redirect contradicts",
			with("redirect_uris", []string{"https://client1.test/other"}),
			trace.InvalidCertification,
		},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := newCertified(t)
			good, tr, err := c.check(t, k.make(t, c))
			if err != nil || len(good) != 0 || len(tr.Warnings()) != 1 || tr.Code != "" {
				t.Errorf("%s, not required: %d accepted, %v, %+v", k.name, len(good), err, tr.Warnings())
			}
			c = newCertified(t, certURI)
			_, _, err = c.check(t, k.make(t, c))
			var refusal *trace.Error
			if !errors.As(err, &refusal) || refusal.Code != k.code || refusal.Check != "certification.required" {
				t.Errorf("%s, required: %v", k.name, err)
			}
		})
	}

	c := newCertified(t, certURI)
	_, _, err := c.check(t, "not a JWT", c.certifier.Sign(t, c.good().With("certification_uris", []string{otherURI})))
	var refusal *trace.Error
	if !errors.As(err, &refusal) || refusal.Code != trace.InvalidClientMetadata {
		t.Errorf("required and none: %v", err)
	}
	if good, _, err := c.check(t, c.certifier.Sign(t, c.good()), "not a JWT"); err != nil || len(good) != 1 {
		t.Errorf("required and there: %v", err)
	}
}

func with(pairs ...any) func(*testing.T, *certified) string {
	return func(t *testing.T, c *certified) string {
		claims := c.good()
		for i := 0; i < len(pairs); i += 2 {
			claims = claims.With(pairs[i].(string), pairs[i+1])
		}
		return c.certifier.Sign(t, claims)
	}
}

// A certification counts if the policy names its certifier: a required one by
// nobody else, a supported one by anybody if the policy names nobody.
// Covers: S1-117, S1-118, S2-17
func TestCertifiers(t *testing.T) {
	const certifier, self, anybody = "https://certifier.test/", "self", "anybody"
	named := func(c ...udap.Certifier) []udap.Certifier { return c }
	for _, row := range []struct {
		name       string
		certifiers []udap.Certifier
		by         string
		supported  bool // accepted where it is supported
		required   bool // meets a requirement
	}{
		{"named", named(udap.Certifier{URI: certifier}), certifier, true, true},
		{
			"named for this one",
			named(udap.Certifier{URI: certifier, Certifications: []string{certURI}}), certifier,
			true, true,
		},
		{
			"named for another",
			named(udap.Certifier{URI: certifier, Certifications: []string{otherURI}}), certifier,
			false, false,
		},
		{"another member", named(udap.Certifier{URI: certifier}), anybody, false, false},
		{"the client itself", named(udap.Certifier{URI: certifier}), self, false, false},
		{
			"the client itself, allowed",
			named(udap.Certifier{URI: certifier}, udap.Certifier{URI: self}), self, true, true,
		},
		{"a certifier where only self is", named(udap.Certifier{URI: self}), certifier, false, false},
		{"the client's own URI is not self", named(udap.Certifier{URI: udaptest.Client1URI}), self, false, false},
		{"nobody named, a member", nil, anybody, true, false},
		{"nobody named, the client itself", nil, self, true, false},
	} {
		for _, need := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/required %v", row.name, need), func(t *testing.T) {
				c := newCertified(t)
				p := &c.w.A.Community.Policy
				p.Certifiers = row.certifiers
				if need {
					p.CertificationsNeeded = []string{certURI}
				}
				signer := map[string]*udaptest.Client{
					certifier: c.certifier,
					self:      c.client,
					anybody:   c.w.Client(t, c.w.A.Int, udaptest.Client2URI, nil),
				}[row.by]

				good, tr, err := c.check(t, signer.Sign(t, c.good().With("iss", signer.URI)))
				if !need {
					if err != nil || (len(good) == 1) != row.supported {
						t.Errorf("%d accepted, %v", len(good), err)
					}
					return
				}

				want := expectation{}
				if !row.required {
					want = expectation{
						code:  trace.UnapprovedCertification,
						check: "certification.required",
						says:  "certification.certifier",
					}
				}

				expectRefusal(t, tr, err, want)
			})
		}
	}
}

// Covers: case 109
func TestCertifiedRedirects(t *testing.T) {
	for _, k := range []struct {
		certified, asked string
		ok               bool
	}{
		{"https://app.test/redirect/*", "https://app.test/redirect/one", true},
		{"https://app.test/redirect/*", "https://app.test/redirect/one/two", false},
		{"https://app.test/redirect/*", "https://app.test/redirect/", false},
		{"https://app.test/redirect/*", "https://app.test/other", false},
		{"https://app.test/redirect/*", "https://app.test/redirect/a?b", false},
		{"https://app.test/redirect/%2A", "https://app.test/redirect/one", false},
		{"https://app.test/*/cb", "https://app.test/x/cb", false},
		{"https://*", "https://evil.test", false},
		{"https://app.test/cb", "https://app.test/cb", true},
	} {
		t.Run(k.certified+" for "+k.asked, func(t *testing.T) {
			c := newCertified(t)
			c.claims = c.claims.With("redirect_uris", []string{k.asked})
			good, tr, err := c.check(t, c.certifier.Sign(t, c.good().With("redirect_uris", []string{k.certified})))
			if err != nil || (len(good) == 1) != k.ok {
				t.Error(fmt.Sprint(k, err, tr.Warnings()))
			}
		})
	}
}

// A certification that this server is too busy to verify is not left out of the
// registration: the request is refused as temporarily unavailable.
// Covers: S1-116, S2-17
func TestCertificationsOnABusyServer(t *testing.T) {
	for _, rule := range []udap.RevocationRule{udap.RevocationRequired, udap.RevocationSoft} {
		t.Run(string(rule), func(t *testing.T) {
			c := newCertified(t)
			c.w.A.Community.Policy.Revocation = rule
			ss, tr, err := statement(c.w, c.client.Sign(t, c.claims))
			if err != nil {
				t.Fatal(err)
			}

			c.w.Answer(c.w.A.Int, udap.CRLAnswer{URL: "http://crl.test/list", Err: udap.ErrUnavailable})
			_, err = c.w.Verifier().Certifications(ctx, []string{c.certifier.Sign(t, c.good())}, ss, udap.Expect{
				Now:      c.w.Now,
				Audience: udaptest.Registration,
				OurURLs:  ourURLs,
			}, tr)
			expectRefusal(t, tr, err, expectation{
				code: trace.TemporarilyUnavailable, check: "certification.accepted",
			})
		})
	}
}
