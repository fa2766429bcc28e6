package udap

import (
	"context"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// signatureKind is a detached signature. It has no claims of its own: what surrounds
// it states them.
var signatureKind = kind{
	name:      "signature",
	malformed: trace.InvalidRequest,
	untrusted: trace.AccessDenied,
	claims:    trace.InvalidRequest,
}

// Signature is a verified detached signature: a member of a trust community made it.
type Signature struct {
	Verified
	Header jose.Object // as it was signed
	URIs   []string    // uniformResourceIdentifiers of the signer's certificate
}

// Detached verifies a compact JWS over content that it does not hold (RFC 7515
// appendix F), by the same rules as a software statement: form, header, algorithm,
// the path from x5c to an anchor of a trust community, revocation. Of exp, Now alone
// counts. The signer's certificate must be valid now, whenever it signed. A refusal is
// an *Error with the codes invalid_request, access_denied or temporarily_unavailable.
func (v *Verifier) Detached(
	ctx context.Context, compact string, content []byte, exp Expect, tr *trace.Trace,
) (*Signature, error) {
	val := v.begin(ctx, signatureKind, exp, tr)
	decoded, f := openDetached(compact, content, &v.memory)
	e, err := val.opened(decoded, f, len(compact))
	if err != nil {
		return nil, err
	}

	uris, err := namesOf(val, e)
	if err != nil {
		return nil, err
	}

	verified, err := val.trust(e, v.Communities)
	if err != nil {
		return nil, err
	}

	return &Signature{
		Verified: verified,
		Header:   e.Header,
		URIs:     uris,
	}, nil
}

var checkSignerNames = trace.NewCheck("signature.names",
	"The signer's certificate has URIs in its Subject Alternative Name", "FS-504")

// namesOf returns the URIs of the signer's certificate.
func namesOf(val *validation, e *envelope) ([]string, error) {
	uris, err := e.leaf.uris, e.leaf.urisErr
	if err != nil || len(uris) == 0 {
		f := trace.Finding{
			Expected: "a readable Subject Alternative Name with a uniformResourceIdentifier",
			Found:    "none",
			Err:      err,
		}
		if err != nil {
			f.Found = err.Error()
		}
		return nil, val.tr.Refuse(checkSignerNames, val.kind.untrusted, f)
	}

	val.tr.Pass(checkSignerNames, "one or more", list(uris))
	return uris, nil
}
