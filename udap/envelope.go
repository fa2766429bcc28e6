package udap

import (
	"crypto/x509"
	"strconv"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// envelope is a compact JWS with the certificates of its header. Nothing about
// it is trusted yet.
type envelope struct {
	*jose.JWS
	certs []*x509.Certificate // x5c, the signer's first
	leaf  *certFacts          // of certs[0]
	known *knownHeader        // the header's, if it is that of a trusted signer seen before
	texts headerTexts         // of the header, as far as it has been checked
}

// headerRules are those of every JWT of the guide: none names a kind. The one
// that draft-ietf-oauth-rfc7523bis gives to client assertions is accepted.
var headerRules = jose.HeaderRules{Types: []string{"client-authentication+jwt"}}

// openCompact decodes a compact JWS. A header that m remembers is not read again.
func openCompact(compact string, m *memory) (*envelope, *jose.Fault) {
	e := &envelope{}
	f := e.decode(compact, m)
	return e, f
}

// decode is openCompact for an empty envelope.
func (e *envelope) decode(compact string, m *memory) (f *jose.Fault) {
	e.JWS, f = jose.Open(compact, e.recall(m))
	return f
}

// openDetached is openCompact for a JWS whose payload was left out.
func openDetached(compact string, content []byte, m *memory) (*envelope, *jose.Fault) {
	e := &envelope{}
	s, f := jose.OpenDetached(compact, content, e.recall(m))
	if f != nil {
		return nil, f
	}

	e.JWS = s
	return e, nil
}

// recall returns the function that finds the header of a segment in m, with what else
// is known of it.
func (e *envelope) recall(m *memory) func(segment string) (jose.Object, bool) {
	return func(segment string) (jose.Object, bool) {
		k, ok := m.headers.get(segment)
		if !ok {
			return nil, false
		}

		e.known, e.texts = k, k.texts
		return k.header, true
	}
}

// verdict records one check on form: passed, or refused with the fault.
func (val *validation) verdict(c trace.Check, code trace.Code, f *jose.Fault, expected, found string) error {
	if f != nil {
		return val.tr.Refuse(c, orBusy(code, f.Err), f.Finding())
	}
	val.tr.Pass(c, expected, found)
	return nil
}

// open decodes the compact form and verifies that the key of x5c[0] signed it.
// Nothing is known about that key yet.
func (val *validation) open(compact string) (*envelope, error) {
	f := val.jwt.decode(compact, &val.v.memory)
	return val.opened(&val.jwt, f, len(compact))
}

// opened is open for a JWS of length bytes that was decoded, or could not be.
func (val *validation) opened(e *envelope, f *jose.Fault, length int) (*envelope, error) {
	code := val.kind.malformed
	err := val.verdict(checkForm, code, f, "three strict segments", bytesText(length))
	if err != nil {
		return nil, err
	}

	if e.known == nil {
		e.texts.members = "header " + e.Header.Members()
	}
	f = e.CheckHeader(headerRules)
	err = val.verdict(checkHeaders, code, f, "no crit, b64 or zip", e.texts.members)
	if err != nil {
		return nil, err
	}

	f = e.CheckAlgorithm()
	if err := val.verdict(checkAlg, code, f, algorithmsShown, e.Algorithm); err != nil {
		return nil, err
	}

	if err := val.certificates(e, code); err != nil {
		return nil, err
	}

	if e.known == nil {
		e.texts.signature = e.Algorithm + " with " + e.leaf.key
	}
	f = e.Verify(e.certs)
	return e, val.verdict(checkSignature, code, f, "made by the key of x5c[0]", e.texts.signature)
}

// bytesText is a length as findings have it.
func bytesText(n int) string {
	var room [24]byte
	return string(append(strconv.AppendInt(room[:0], int64(n), 10), " bytes"...))
}

var algorithmsShown = strings.Join(jose.Algorithms(), ", ")

// certificates decodes x5c and checks the signer's key before it is used.
func (val *validation) certificates(e *envelope, code trace.Code) error {
	f := val.readX5C(e)
	if e.known == nil {
		e.texts.certs = strconv.Itoa(len(e.certs)) + " certificate(s)"
	}
	if err := val.verdict(checkX5C, code, f, "base64 DER, the signer first", e.texts.certs); err != nil {
		return err
	}

	e.leaf = val.v.factsOf(e.certs[0])
	val.tr.Certificate = e.leaf.shown
	if err := e.leaf.keyFault; err != nil {
		return val.tr.Refuse(checkSignerKey, val.kind.untrusted, trace.Finding{
			Expected: jose.SoundKeys,
			Found:    err.Error(),
			Remedy:   "have a certificate issued for a stronger key",
		})
	}

	val.tr.Pass(checkSignerKey, jose.SoundKeys, e.leaf.key)
	if !e.Header.Has("x5t") && !e.Header.Has("x5t#S256") {
		return nil
	}
	return val.verdict(checkThumbprint, code, e.CheckThumbprints(e.certs[0]), "the thumbprint of x5c[0]",
		"the same")
}

// readX5C decodes the certificates, or returns those remembered with the header.
func (val *validation) readX5C(e *envelope) (f *jose.Fault) {
	if e.known != nil {
		e.certs = e.known.certs
		return nil
	}
	if url := val.keySetURL(e); url != "" {
		e.certs, f = val.certsByJKU(e, url)
		return f
	}

	e.certs, f = jose.DecodeX5C(e.Header, val.v.parseCertificate)
	return f
}
