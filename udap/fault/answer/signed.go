package answer

import (
	"crypto/x509"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/certs"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/jose"
)

// signing is UDAP metadata whose signed part is made anew.
type signing struct {
	shop      *workshop
	community *Community
	plain     map[string]jsontext.Value
	claims    forge.Claims

	signer *certs.Identity
	alg    string         // of the signature and of the header
	header map[string]any // members in place of alg and x5c, or beside them
	edit   func(compact string) string
}

// resigned is a change of UDAP metadata: f has its way with the document before
// signed_metadata is signed again.
func resigned(f func(*signing) error) change {
	return func(m *Message, w *workshop) error {
		return m.members(func(o map[string]jsontext.Value) error {
			s, err := w.open(o)
			if err != nil {
				return err
			}
			if err := f(s); err != nil {
				return err
			}
			return s.sign()
		})
	}
}

// open reads a document's signed part.
func (w *workshop) open(o map[string]jsontext.Value) (*signing, error) {
	jws, fault := jose.Open(text(o, "signed_metadata"), nil)
	if fault != nil {
		return nil, fault
	}

	chain, fault := jose.DecodeX5C(jws.Header, x509.ParseCertificate)
	if fault != nil {
		return nil, fault
	}

	s := &signing{
		shop:   w,
		plain:  o,
		claims: forge.Claims{},
	}
	s.alg, _ = jws.Header.Text("alg")
	for name, value := range jws.Claims {
		s.claims[name] = value
	}
	for i := range w.Communities {
		if c := &w.Communities[i]; c.Own.Leaf().Equal(chain[0]) {
			s.community, s.signer = c, c.Own
		}
	}
	if s.community == nil {
		return nil, errNot // signed by a certificate that is not in the tools
	}

	return s, nil
}

// sign puts the signed part into the document.
func (s *signing) sign() error {
	if s.alg == "" {
		return nil // it was taken out, or is as it was
	}

	payload, err := s.claims.JSON()
	if err != nil {
		return err
	}

	header := forge.HeaderWith(s.alg, s.header, s.signer.Chain...)
	compact, err := forge.Raw{
		Alg: s.alg,
		Key: s.signer.Key,
	}.Sign(header, payload)
	if err != nil {
		return err
	}

	if s.edit != nil {
		compact = s.edit(compact)
	}
	return set(s.plain, "signed_metadata", compact)
}

// certificate has the community issue another certificate for the signer's key.
func (s *signing) certificate(name string, change func(*certs.Template)) error {
	id, err := s.shop.certificate(s.community, string(s.community.URI)+" "+name, change)
	if err == nil {
		s.signer = id
	}
	return err
}

// segment changes one segment of a compact JWS.
func segment(i int, f func(string) string) func(string) string {
	return func(compact string) string {
		parts := strings.Split(compact, ".")
		parts[i] = f(parts[i])
		return strings.Join(parts, ".")
	}
}

// swapCharacter changes a character in the middle of a segment to another one of
// its alphabet.
func swapCharacter(s string) string {
	i := len(s) / 2
	if i >= len(s) {
		return s
	}

	other := "A"
	if s[i] == 'A' {
		other = "B"
	}
	return s[:i] + other + s[i+1:]
}
