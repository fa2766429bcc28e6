package answer

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/jose"
)

const (
	stopsAtMetadata = "does not register, sign in or ask for a token by what this metadata names, and reports why"
	usesMetadata    = "a registration, an authorization, a token request or a read"
)

// ofMetadata is a fault of UDAP metadata under which a client must go no further.
func ofMetadata(name, title, rule string, c change) *Fault {
	return &Fault{
		Name:    "metadata-" + name,
		Stage:   Metadata,
		Title:   title,
		Correct: stopsAtMetadata,
		Rule:    rule,
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: usesMetadata,
		Silence: Noticed,
		changes: map[point]change{document: c},
		reads:   goesOn(afterDiscovery...),
	}
}

func metadataFaults() []*Fault {
	all := signatureFaults()
	all = append(all, certificateFaults()...)
	all = append(all, claimFaults()...)
	return append(all, documentFaults()...)
}

// signatureFaults are in the signature of signed_metadata and its header.
func signatureFaults() []*Fault {
	return []*Fault{
		ofMetadata("bad-signature", "the signature of signed_metadata is not that of its bytes",
			"S2-07 S1-046; RFC 7515 5.2", resigned(func(s *signing) error {
				s.edit = segment(2, swapCharacter)
				return nil
			})),
		ofMetadata("changed-payload", "signed_metadata was changed after it was signed",
			"S2-07 S1-046; RFC 7515 5.2", resigned(changedPayload)),
		ofMetadata("other-key", "signed_metadata is signed by a key that is not the certificate's",
			"S2-07 S1-046; UDAP Security 2.3", resigned(otherKey)),
		ofMetadata("key-in-header", "a key in the header (jwk) made the signature, not that of x5c",
			"S2-07; RFC 8725 3.8", resigned(keyInHeader)),
		ofMetadata("algorithm-none", "signed_metadata has the algorithm none and no signature",
			"S1-002 S2-06; RFC 8725 3.1", resigned(func(s *signing) error {
				s.header = map[string]any{"alg": "none"}
				s.edit = segment(2, func(string) string { return "" })
				return nil
			})),
		ofMetadata("algorithm-hs256", "signed_metadata has an algorithm of shared secrets",
			"S2-06; RFC 8725 3.1", resigned(func(s *signing) error {
				s.header = map[string]any{"alg": "HS256"}
				return nil
			})),
		ofMetadata("algorithm-mismatch", "the header names ES256, the key is an RSA key",
			"S1-007 S2-06; RFC 8725 3.1", resigned(func(s *signing) error {
				s.header = map[string]any{"alg": "ES256"}
				return nil
			})),
		ofMetadata("no-x5c", "the header has no certificates",
			"S1-008; UDAP Security 1.2.3", resigned(func(s *signing) error {
				s.header = map[string]any{"x5c": forge.Absent}
				return nil
			})),
		ofMetadata("reversed-x5c", "the certificates are in the wrong order, the issuer first",
			"S1-008; RFC 7515 4.1.6", resigned(func(s *signing) error {
				s.header = map[string]any{"x5c": reversedChain(s.signer.Chain)}
				return nil
			})),
		ofMetadata("critical-header", "the header has a critical member that nobody knows",
			"S1-002; RFC 7515 4.1.11", resigned(func(s *signing) error {
				s.header = map[string]any{
					"crit": []string{"lab"},
					"lab":  true,
				}
				return nil
			})),
	}
}

func changedPayload(s *signing) error {
	other, err := s.claims.With("token_endpoint", s.shop.Issuer+unannounced).JSON()
	s.edit = segment(1, func(string) string { return forge.Segment(other) })
	return err
}

func otherKey(s *signing) error {
	key, err := foreignKey()
	s.signer = &certs.Identity{
		Chain: s.signer.Chain,
		Key:   key,
	}
	return err
}

func keyInHeader(s *signing) error {
	if err := otherKey(s); err != nil {
		return err
	}
	key, err := jose.EncodeKey(s.signer.Key.Public())
	s.header = map[string]any{"jwk": key}
	return err
}

func reversedChain(chain []*x509.Certificate) []string {
	var out []string
	for i := len(chain) - 1; i >= 0; i-- {
		out = append(out, base64.StdEncoding.EncodeToString(chain[i].Raw))
	}
	return out
}

// issued is metadata signed with a certificate that was issued for this fault.
func issued(name string, f func(w *workshop, t *certs.Template)) change {
	return resigned(func(s *signing) error {
		return s.certificate(name, func(t *certs.Template) { f(s.shop, t) })
	})
}

// certificateFaults are in the certificate that signed, and in its chain.
func certificateFaults() []*Fault {
	community := ofMetadata("other-community",
		"a certificate of another community than the one asked for signed the metadata",
		"S1-062 S2-07; UDAP Security 2.4", resigned(otherCommunity))
	community.Needs = NeedsCommunity

	return []*Fault{
		community,
		ofMetadata("expired-certificate", "the certificate has expired",
			"S2-07; RFC 5280 6.1.3", issued("expired", func(w *workshop, t *certs.Template) {
				t.NotAfter = w.Now().Add(-time.Minute)
			})),
		ofMetadata("future-certificate", "the certificate is not valid yet",
			"S2-07; RFC 5280 6.1.3", issued("future", func(w *workshop, t *certs.Template) {
				t.NotBefore = w.Now().Add(24 * time.Hour)
			})),
		ofMetadata("revoked-certificate", "the certificate is on its issuer's list of revoked ones",
			"S2-07; RFC 5280 6.3", resigned(revokedCertificate)),
		ofMetadata("unknown-authority", "the certificate leads to an authority that is in no community",
			"S2-07; RFC 5280 6.1", resigned(unknownAuthority)),
		ofMetadata("self-signed", "the certificate was issued by itself",
			"S2-07; RFC 5280 6.1", resigned(selfSigned)),
		ofMetadata("leaf-alone", "a chain of the leaf alone, which leads to no anchor by itself",
			"S1-008 S2-07; RFC 5280 6.1", resigned(leafAlone)),
		ofMetadata("other-san", "iss is the base URL, but not a URI name of the certificate",
			"S1-049; UDAP Security 2.3", issued("other-san", func(w *workshop, t *certs.Template) {
				t.URIs = []string{w.Base + "-of-another"}
			})),
		ofMetadata("no-san", "the certificate has no URI name at all",
			"S1-049; UDAP Security 2.3", issued("no-san", func(_ *workshop, t *certs.Template) {
				t.URIs = nil
			})),
	}
}

func otherCommunity(s *signing) error {
	for i := range s.shop.Communities {
		if c := &s.shop.Communities[i]; c != s.community {
			s.community, s.signer = c, c.Own
			return nil
		}
	}
	return errNot
}

func revokedCertificate(s *signing) error {
	issuer := s.shop.Communities[0]
	if s.community.URI != issuer.URI {
		return errNot // the list is that of the first community
	}

	err := s.certificate("revoked", func(t *certs.Template) {
		t.CRL = []string{s.shop.Issuer + revokedPath}
	})
	if err == nil {
		s.shop.revoke(s.signer.Leaf())
	}
	return err
}

func unknownAuthority(s *signing) error {
	foreign, err := foreignCommunity()
	if err != nil {
		return err
	}

	c := *s.community
	c.Issuing = foreign.Issuing
	id, err := s.shop.certificate(&c, "foreign", func(*certs.Template) {})
	if err == nil {
		s.signer = id
	}
	return err
}

func selfSigned(s *signing) error {
	now := s.shop.Now()
	ca, err := certs.NewRoot(certs.Template{
		CommonName: "lab",
		URIs:       []string{s.shop.Base},
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.Add(life),
	}, s.signer.Key)
	if err != nil {
		return err
	}

	s.signer = &certs.Identity{
		Chain: []*x509.Certificate{ca.Cert},
		Key:   s.signer.Key,
	}
	return nil
}

// leafAlone has an authority between leaf and issuer that it does not send, so that
// clients which know the issuing authority cannot fill the gap.
func leafAlone(s *signing) error {
	foreign, err := s.community.Issuing.NewCA(certs.Template{
		CommonName: "lab authority between",
		NotBefore:  s.shop.Now().Add(-time.Hour),
		NotAfter:   s.shop.Now().Add(life),
	}, s.signer.Key)
	if err != nil {
		return err
	}

	c := *s.community
	c.Issuing = foreign
	id, err := s.shop.certificate(&c, "alone", func(*certs.Template) {})
	if err == nil {
		s.signer = &certs.Identity{
			Chain: id.Chain[:1],
			Key:   id.Key,
		}
	}
	return err
}

// claims is metadata whose signed part has other claims.
func claims(f func(s *signing)) change {
	return resigned(func(s *signing) error {
		f(s)
		return nil
	})
}

// claimFaults are in the claims of signed_metadata.
func claimFaults() []*Fault {
	return []*Fault{
		ofMetadata("expired", "signed_metadata has expired",
			"S1-052; UDAP Security 2.3", claims(func(s *signing) {
				now := s.shop.Now()
				s.claims["iat"] = now.Add(-48 * time.Hour).Unix()
				s.claims["exp"] = now.Add(-24 * time.Hour).Unix()
			})),
		ofMetadata("issued-ahead", "signed_metadata was issued in the future",
			"S1-054; UDAP Security 2.3", claims(func(s *signing) {
				now := s.shop.Now()
				s.claims["iat"] = now.Add(24 * time.Hour).Unix()
				s.claims["exp"] = now.Add(48 * time.Hour).Unix()
			})),
		ofMetadata("long-life", "signed_metadata lives for three years",
			"S1-053; UDAP Security 2.3", claims(func(s *signing) {
				now := s.shop.Now()
				s.claims["iat"] = now.Unix()
				s.claims["exp"] = now.AddDate(3, 0, 0).Unix()
			})),
		ofMetadata("no-exp", "signed_metadata has no exp",
			"S1-052; UDAP Security 2.3", claims(func(s *signing) {
				delete(s.claims, "exp")
			})),
		ofMetadata("other-base", "iss and certificate are those of another base URL",
			"S1-050; UDAP Security 2.3", resigned(otherBase)),
		ofMetadata("other-sub", "sub is not iss",
			"S1-051; UDAP Security 2.3", claims(func(s *signing) {
				s.claims["sub"] = s.shop.Base + "-of-another"
			})),
		ofMetadata("no-token-endpoint", "signed_metadata lacks the token endpoint, which the plain part has",
			"S1-058; UDAP Security 2.3", claims(func(s *signing) {
				delete(s.claims, "token_endpoint")
			})),
		ofMetadata("no-registration-endpoint",
			"signed_metadata lacks the registration endpoint, which the plain part has",
			"S1-059; UDAP Security 2.3", claims(func(s *signing) {
				delete(s.claims, "registration_endpoint")
			})),
		ofMetadata("http-endpoint", "the token endpoint is an http URL",
			"S1-058; RFC 6749 3.2", claims(func(s *signing) {
				insecure := "http://fhir.invalid/token"
				s.claims["token_endpoint"] = insecure
				_ = set(s.plain, "token_endpoint", insecure) // a string can be encoded
			})),
	}
}

func otherBase(s *signing) error {
	other := s.shop.Base + "-of-another"
	s.claims["iss"], s.claims["sub"] = other, other
	return s.certificate("other-base", func(t *certs.Template) {
		t.URIs = []string{other}
	})
}

// documentFaults are in the plain part, or in the answer itself.
func documentFaults() []*Fault {
	lists := []struct {
		name   string
		member string
		value  []string
		title  string
		rule   string
	}{
		{
			name:   "no-version",
			member: "udap_versions_supported",
			value:  []string{"2"},
			title:  "the version that is supported is 2, of which nobody knows anything",
			rule:   "S1-022; UDAP Security 2.2",
		},
		{
			name:   "no-registration-profile",
			member: "udap_profiles_supported",
			value:  []string{"udap_authn", "udap_authz"},
			title:  "udap_dcr is not among the profiles: there is no dynamic registration",
			rule:   "S1-024 S1-021; UDAP Security 2.2",
		},
		{
			name:   "no-grants",
			member: "grant_types_supported",
			value:  []string{},
			title:  "grant_types_supported is empty: no grant is supported",
			rule:   "S1-020 S1-036; UDAP Security 2.2",
		},
		{
			name:   "no-algorithms",
			member: "registration_endpoint_jwt_signing_alg_values_supported",
			value:  []string{"EdDSA"},
			title:  "the one algorithm for software statements is one that no key of the community has",
			rule:   "S1-021 S1-044; UDAP Security 2.2",
		},
	}

	var all []*Fault
	for _, l := range lists {
		all = append(all, ofMetadata(l.name, l.title, l.rule, claims(func(s *signing) {
			_ = set(s.plain, l.member, l.value) // strings can be encoded
		})))
	}

	return append(all,
		ofMetadata("unsigned", "there is no signed_metadata",
			"S1-047 S2-07; UDAP Security 2.2", claims(func(s *signing) {
				delete(s.plain, "signed_metadata")
				s.alg = ""
			})),
		ofMetadata("member-twice", "the document has signed_metadata twice, the second one empty",
			"S1-015; RFC 8259 4", twice),
		ofMetadata("html", "a web page with the status 200 in place of the document",
			"S1-015; UDAP Security 2.2", func(m *Message, _ *workshop) error {
				m.become(plain(200, "text/html", page))
				return nil
			}),
		ofMetadata("not-found", "404: the server has no UDAP",
			"S1-016; UDAP Security 2.1", func(m *Message, _ *workshop) error {
				m.become(outcome(404, "not-found", "no such page"))
				return nil
			}),
		ofMetadata("no-community", "204: the server has no certificate of the community",
			"S1-064 S2-01; UDAP Security 2.4", func(m *Message, _ *workshop) error {
				m.become(plain(204, "application/json", ""))
				return nil
			}),
		plainDiffers(),
	)
}

func twice(m *Message, w *workshop) error {
	if err := resigned(func(*signing) error { return nil })(m, w); err != nil {
		return err
	}
	m.Body = fmt.Appendf(m.Body[:len(m.Body)-1:len(m.Body)-1], `,"signed_metadata":""}`)
	return nil
}

// unannounced is a path at the authorization server that nothing signed names.
const unannounced = "/unsigned-endpoint"

// plainDiffers leads clients that read the plain part to another endpoint.
func plainDiffers() *Fault {
	return &Fault{
		Name:    "metadata-plain-differs",
		Stage:   Metadata,
		Title:   "the plain endpoints are others than the signed ones",
		Correct: "uses the signed endpoints, which have precedence, or stops",
		Rule:    "S1-057 S1-058 S1-059 S2-07; UDAP Security 2.3",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a request to an endpoint that the plain part alone names",
		Silence: Noticed,
		reads:   anyTarget(unannounced),
		changes: map[point]change{
			document: claims(func(s *signing) {
				for _, name := range []string{"registration_endpoint", "token_endpoint"} {
					_ = set(s.plain, name, s.shop.Issuer+unannounced) // a string can be encoded
				}
			}),
		},
	}
}
