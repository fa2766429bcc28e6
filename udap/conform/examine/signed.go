package examine

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// yearAtMost is the longest life of signed metadata, counted generously for leap
// years.
const yearAtMost = 366 * 24 * time.Hour

// signedChecks are the checks on signed_metadata.
var signedChecks = []Check{
	{
		Name:   "signed.present",
		Title:  "The metadata has signed_metadata",
		Rows:   "S1-046 S1-047",
		Rule:   signedElements,
		Remedy: "sign the endpoints: without that no client may go on",
		run: func(x *examination) answer {
			s, ok := x.meta.object.Text("signed_metadata")
			if !ok {
				return violated("a string", "%s", x.meta.object.Show("signed_metadata"))
			}
			return shown("%d characters", len(s))
		},
	},
	{
		Name:   "signed.form",
		Title:  "signed_metadata is a compact JWS, whose header and claims are JSON objects",
		Rows:   "S1-001 S1-002 S1-003",
		Rule:   "UDAP Security, General: General Requirements and Serialization; RFC 7515 7.1",
		Remedy: "three segments of unpadded base64url with dots between them; no member twice",
		run: func(x *examination) answer {
			if !x.meta.object.Has("signed_metadata") {
				return skipped("there is no signed_metadata")
			}
			return held(x.meta.signed != nil, "a compact JWS", "%s", x.meta.fault)
		},
	},
	{
		Name:   "signed.alg",
		Title:  "The header of signed_metadata has alg",
		Rows:   "S1-007",
		Rule:   "UDAP Security, General: JWT Headers",
		Remedy: "write alg, one of the algorithms of UDAP",
		needs:  signedMetadata,
		run: func(x *examination) answer {
			alg, _ := x.meta.signed.Header.Text("alg")
			return held(slices.Contains(jose.Algorithms(), alg), "one of "+strings.Join(jose.Algorithms(), ", "),
				"%s", x.meta.signed.Header.Show("alg"))
		},
	},
	{
		Name:   "signed.crit",
		Title:  "The header of signed_metadata has no critical extension",
		Rows:   "S1-002",
		Rule:   "RFC 7515 4.1.11",
		Remedy: "leave out crit: UDAP defines no extension, and clients refuse one",
		needs:  signedMetadata,
		run: func(x *examination) answer {
			return held(!x.meta.signed.Header.Has("crit"), "no crit", "%s", x.meta.signed.Header.Show("crit"))
		},
	},
	{
		Name:   "signed.rs256",
		Title:  "signed_metadata is signed with RS256",
		Rows:   "S2-06",
		Rule:   "UDAP Security 2.0, Discovery: Signed Metadata Elements",
		Remedy: "sign with RS256",
		needs:  signedMetadata,
		run: func(x *examination) answer {
			alg, ok := x.meta.signed.Header.Text("alg")
			if !ok {
				return skipped("the header has no alg")
			}
			return held(alg == "RS256", "RS256", "%s", alg)
		},
	},
	{
		Name:   "signed.x5c",
		Title:  "The header of signed_metadata has x5c, the server's certificate first",
		Rows:   "S1-008",
		Rule:   "UDAP Security, General: JWT Headers",
		Remedy: "put the chain into x5c, in base64 DER, leaf first",
		needs:  signedMetadata,
		run: func(x *examination) answer {
			if len(x.meta.chain) == 0 {
				return violated("one or more certificates", "%s", trace.Cut(x.meta.signed.Header.Show("x5c"), 200))
			}
			return held(!x.meta.chain[0].IsCA, "the server's certificate first", "%s", jose.CertName(x.meta.chain[0]))
		},
	},
	{
		Name:   "signed.signature",
		Title:  "The signature of signed_metadata was made by the key of its certificate",
		Rows:   "S1-002",
		Rule:   "RFC 7515 5.2",
		Remedy: "sign with the key of the certificate that is first in x5c",
		needs:  signedMetadata,
		run:    func(x *examination) answer { return signedSignature(x, x.meta) },
	},
	{
		Name:   "signed.trust",
		Title:  "The certificate is one that the community issued, valid now and not revoked",
		Rows:   "S1-062 S2-01",
		Rule:   "UDAP Security, Discovery: Multiple Trust Communities",
		Remedy: "sign with a certificate of the community that was asked for, and put its issuers into x5c after it",
		needs:  signedMetadata,
		run:    func(x *examination) answer { return signedTrust(x, x.meta) },
	},
}

// claimsChecks are added to signedChecks: each is about one claim.
func init() {
	signedChecks = append(signedChecks,
		claim("iss", "iss of signed_metadata is there", "S1-048", "write iss, the base URL",
			func(x *examination, o jose.Object) bool { s, ok := o.Text("iss"); return ok && s != "" }),
		Check{
			Name:   "signed.iss.name",
			Title:  "iss is a URI of the certificate's Subject Alternative Name",
			Rows:   "S1-049",
			Rule:   signedElements,
			Remedy: "have a certificate issued for the base URL, byte for byte",
			run:    issuerNamed,
		},
		Check{
			Name:   "signed.iss.base",
			Title:  "iss is the base URL",
			Rows:   "S1-050",
			Rule:   signedElements,
			Remedy: "write the base URL as clients do, without a slash at its end",
			run: func(x *examination) answer {
				iss := x.meta.claim("iss")
				if iss == "" {
					return skipped("there is no iss")
				}
				return held(iss == x.Client.Base, x.Client.Base, "%s", iss)
			},
		},
		claim("sub", "sub of signed_metadata equals iss", "S1-051", "write sub, the same as iss",
			func(x *examination, o jose.Object) bool {
				sub, ok := o.Text("sub")
				iss, there := o.Text("iss")
				return ok && (!there || sub == iss)
			}),
		claim("exp", "exp of signed_metadata is a time to come", "S1-052", "write exp, in seconds",
			func(x *examination, o jose.Object) bool {
				exp, ok := seconds(o, "exp")
				return ok && exp.After(x.now().Add(-skew))
			}),
		claim("lifetime", "exp is at most a year after iat", "S1-053", "sign anew more often",
			func(x *examination, o jose.Object) bool {
				exp, ok := seconds(o, "exp")
				iat, there := seconds(o, "iat")
				return !ok || !there || exp.Sub(iat) <= yearAtMost
			}),
		claim("iat", "iat of signed_metadata is a time gone by", "S1-054", "write iat, in seconds",
			func(x *examination, o jose.Object) bool {
				iat, ok := seconds(o, "iat")
				return ok && iat.Before(x.now().Add(skew))
			}),
		claim("jti", "jti of signed_metadata is a string", "S1-055", "write jti, another one for each JWT",
			func(x *examination, o jose.Object) bool { s, ok := o.Text("jti"); return ok && s != "" }),
		Check{
			Name:   "signed.jti.once",
			Title:  "Another JWT of the server has another jti",
			Rows:   "S1-056",
			Rule:   signedElements,
			Remedy: "give every JWT that is signed a jti of its own, or serve the same JWT",
			run:    identifierOnce,
		},
		endpointSigned("authorization_endpoint", "S1-057"),
		endpointSigned("token_endpoint", "S1-058"),
		endpointSigned("registration_endpoint", "S1-059"),
		Check{
			Name:   "signed.agrees",
			Title:  "The plain endpoints are the signed ones",
			Rows:   "S2-06",
			Rule:   "UDAP Security 2.0, Discovery: Signed Metadata Elements (the signed values count)",
			Remedy: "make both parts of one source: clients that read the plain part go elsewhere",
			Advice: true,
			run:    endpointsAgree,
		},
	)
}

const skew = time.Minute // between our clock and the destination's

// claim is a check of one claim.
func claim(
	name, title, row, remedy string, holds func(*examination, jose.Object) bool,
) Check {
	member := strings.Replace(name, "lifetime", "exp", 1)
	return Check{
		Name:   "signed." + name,
		Title:  title,
		Rows:   row,
		Rule:   signedElements,
		Remedy: remedy,
		needs:  signedMetadata,
		run: func(x *examination) answer {
			return held(holds(x, x.meta.signed.Claims), title, "%s", x.meta.signed.Claims.Show(member))
		},
	}
}

// claim returns a claim of the signed metadata that is a string, else nothing.
func (m *metadata) claim(name string) string {
	if m.signed == nil {
		return ""
	}
	s, _ := m.signed.Claims.Text(name)
	return s
}

// seconds reads a NumericDate.
func seconds(o jose.Object, name string) (time.Time, bool) {
	var n float64
	if o[name].Kind() != '0' || json.Unmarshal(o[name], &n) != nil || n < 0 || n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(n), 0), true
}

func signedSignature(x *examination, m *metadata) answer {
	alg, _ := m.signed.Header.Text("alg")
	if len(m.chain) == 0 || m.chain[0].IsCA || !slices.Contains(jose.Algorithms(), alg) {
		return skipped("there is no certificate of the server, or no algorithm that UDAP has")
	}
	if f := m.signed.CheckAlgorithm(); f != nil {
		return violated("an algorithm that UDAP has", "%s", f.Found)
	}
	if f := m.signed.Verify(m.chain); f != nil {
		return violated("a signature by the key of x5c[0]", "%s", f.Found)
	}
	return shown("%s by %s", alg, jose.CertName(m.chain[0]))
}

func signedTrust(x *examination, m *metadata) answer {
	if len(m.chain) == 0 {
		return skipped("there is no certificate")
	}

	tr, err := x.verify(m, x.Client.Community)
	reached := slices.ContainsFunc(tr.Steps, func(s trace.Step) bool {
		return strings.HasPrefix(s.Check, "chain.")
	})
	switch {
	case tr.RefusedBy == "chain.path" && leftOut(m.chain, tr):
		return skipped("x5c has the server's certificate alone, which the guide allows, and its issuer is not "+
			"at hand: add it to -anchor, or allow that it is fetched (-aia) from %s",
			m.chain[0].IssuingCertificateURL[0])
	case strings.HasPrefix(tr.RefusedBy, "chain."):
		return violated("a certificate that the community issued, valid and not revoked",
			"%s: %v", jose.CertName(m.chain[0]), err)
	case !reached:
		return skipped("not reached: %v", err)
	}
	return shown("%s", jose.CertName(m.chain[0]))
}

// leftOut reports whether no path was found because the issuer is neither in x5c nor
// known, and was not fetched from where the certificate has it. The guide allows x5c to
// have the leaf alone (JWT Headers).
func leftOut(chain []*x509.Certificate, tr *trace.Trace) bool {
	fetched := slices.ContainsFunc(tr.Steps, func(s trace.Step) bool { return s.Check == "chain.aia" })
	return len(chain) == 1 && len(chain[0].IssuingCertificateURL) > 0 && !fetched
}

func issuerNamed(x *examination) answer {
	iss := x.meta.claim("iss")
	if iss == "" || len(x.meta.chain) == 0 || x.meta.chain[0].IsCA {
		return skipped("there is no iss, or no certificate of the server")
	}

	uris, err := udap.RawSANURIs(x.meta.chain[0])
	return held(err == nil && slices.Contains(uris, iss), "iss among the URIs of the certificate",
		"iss %s, certificate %s", iss, strings.Join(uris, ", "))
}

func identifierOnce(x *examination) answer {
	jti := x.meta.claim("jti")
	if jti == "" {
		return skipped("there is no jti")
	}

	for range 3 {
		again := x.fetchMetadata(x.Client.Community)
		if again.signed == nil {
			return skipped("a second look got %s", again.reply)
		}
		if payload(again.signed) != payload(x.meta.signed) && again.claim("jti") == jti {
			return violated("another jti in another JWT", "jti %s twice", jti).after("GET metadata again")
		}
	}
	return shown("the same JWT, or others with other identifiers").after("GET metadata three times again")
}

// payload returns the payload of a JWT as it was sent. A signature may differ where the
// same is signed again, by ECDSA for one.
func payload(s *jose.JWS) string {
	_, rest, _ := strings.Cut(s.Raw, ".")
	text, _, _ := strings.Cut(rest, ".")
	return text
}

func endpointSigned(name, row string) Check {
	return Check{
		Name:   "signed." + name,
		Title:  name + " is signed where it is in the plain part",
		Rows:   row,
		Rule:   signedElements,
		Remedy: "put " + name + " among the claims of signed_metadata",
		needs:  signedMetadata,
		run: func(x *examination) answer {
			if !x.meta.object.Has(name) {
				return skipped("the metadata has no %s", name)
			}
			s, ok := x.meta.signed.Claims.Text(name)
			return held(ok && x.secure(s), "an absolute https URL among the claims",
				"%s", x.meta.signed.Claims.Show(name))
		},
	}
}

func endpointsAgree(x *examination) answer {
	if !x.meta.verified {
		return skipped("the signature was not verified")
	}
	for _, name := range []string{
		"authorization_endpoint",
		"token_endpoint",
		"registration_endpoint",
	} {
		signed, plain := x.meta.claim(name), x.meta.text(name)
		if signed != "" && plain != "" && plain != signed && isAbsolute(plain) {
			return violated(name+" "+signed, "%s in the plain part", plain)
		}
	}
	return shown("they are the same")
}

func isAbsolute(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.IsAbs()
}

// discoveryChecks are further checks on what is published.
var discoveryChecks = []Check{
	{
		Name:   "discovery.unknown_community",
		Title:  "For an unknown community the answer is none, or the default metadata",
		Rows:   "S1-064 S1-065 S2-02",
		Rule:   "UDAP Security, Discovery: Multiple Trust Communities",
		Remedy: "answer 404 (edition 1), 204 (edition 2) or the default metadata",
		run:    unknownCommunity,
	},
	{
		Name:   "discovery.smart",
		Title:  "There is a SMART configuration too",
		Rows:   "S1-017",
		Rule:   "UDAP Security, Discovery: Discovery of Endpoints",
		Remedy: "answer BASE/.well-known/smart-configuration",
		Advice: true,
		run: func(x *examination) answer {
			target := x.Client.Base + "/.well-known/smart-configuration"
			r := x.get(target)
			return held(r.good() && r.object != nil, "200 and a JSON object", "%s", r).after("GET %s", target)
		},
	},
	{
		Name:   "discovery.true",
		Title:  "The endpoints that the metadata names answer",
		Rows:   "S1-018",
		Rule:   requiredMetadata + ": it represents the server's capabilities",
		Remedy: "name only what is there",
		run:    endpointsAnswer,
	},
}

func unknownCommunity(x *examination) answer {
	community := trace.CommunityURI("urn:uuid:" + forge.JTI())
	m := x.fetchMetadata(community)
	a := held(m.err == nil && (m.status == http.StatusNotFound || m.status == http.StatusNoContent ||
		m.status == http.StatusOK && m.signed != nil),
		"404, 204 or the default metadata", "%s", m.reply)
	return a.after("GET %s", x.metadataURL(community))
}

// endpointsAnswer sends nothing to each endpoint: whatever it answers, it is there. How
// it refuses is for other checks.
func endpointsAnswer(x *examination) answer {
	var found []string
	var silent error
	for _, name := range []string{registration, tokenEndpoint} {
		target := x.meta.endpoint(name)
		if !x.reachable(name) {
			continue
		}

		r := x.post(target, formType, nil)
		if r.err != nil && !unreachable(r.err) {
			silent = fmt.Errorf("%s: %s", name, r)
			continue
		}
		if r.err != nil || slices.Contains(absences, r.status) {
			return violated("an answer of the endpoint, such as 400", "%s: %s", name, r).
				after("POST of nothing to %s", target)
		}
		found = append(found, fmt.Sprintf("%s answers %d", name, r.status))
	}
	switch {
	case silent != nil:
		return skipped("an empty request shows nothing there: %v", silent).after("POST of nothing")
	case len(found) == 0:
		return skipped("the metadata names no endpoint")
	}
	return shown("%s", strings.Join(found, ", ")).after("POST of nothing")
}

// absences are the statuses of an endpoint that is not there. An error of the server is
// none of them: software that fails on an empty request is there.
var absences = []int{
	http.StatusNotFound,
	http.StatusMethodNotAllowed,
	http.StatusNotImplemented,
}

// unreachable reports whether nothing listens where a request was to go.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
