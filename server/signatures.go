package server

import (
	"context"
	"errors"
	"slices"

	"fhirdest.example/certs"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// signatureAuthority verifies signatures of resources against the site's trust communities, by
// the verifier of software statements, and signs with the site's own keys.
type signatureAuthority struct{ site *Site }

func (a *signatureAuthority) Verify(
	ctx context.Context, jws string, content []byte, tr *trace.Trace,
) (*signature.Signer, error) {
	signed, err := a.site.verifier.Load().Detached(ctx, jws, content, udap.Expect{
		Now: a.site.deps.Now(),
	}, tr)
	if err != nil {
		return nil, err
	}

	return &signature.Signer{
		URIs:      signed.URIs,
		NotBefore: signed.Leaf.NotBefore,
		Skew:      signed.Community.Policy.ClockSkew(),
	}, nil
}

func (a *signatureAuthority) Sign(content []byte, h signature.Header) (jws, who string, err error) {
	id, who := a.own()
	if id == nil {
		return "", "", errors.New("server: no certificate of ours is valid and has a URI")
	}
	jws, err = udap.SignDetached(id.Key, id.Chain, udap.SignatureHeader{
		Canon:      string(h.Canon),
		SignedAt:   h.SignedAt,
		Commitment: h.Commitment,
	}, content)
	return jws, who, err
}

// own returns the first of our own certificates, in the order of the communities, that
// is valid now and has a URI: the public base where it has that.
func (a *signatureAuthority) own() (*certs.Identity, string) {
	now := a.site.deps.Now()
	for _, m := range *a.site.current.Load() {
		for _, id := range m.own {
			uris, err := udap.RawSANURIs(id.Chain[0])
			if err != nil || len(uris) == 0 || now.Before(id.Chain[0].NotBefore) || now.After(id.Chain[0].NotAfter) {
				continue
			}
			if slices.Contains(uris, a.site.cfg.Public) {
				return id, a.site.cfg.Public
			}
			return id, uris[0]
		}
	}

	return nil, ""
}
