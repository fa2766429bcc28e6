package signature

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap/trace"
)

// Signer is who made a signature: its certificate leads to a trust community.
type Signer struct {
	URIs      []string // uniformResourceIdentifiers of its certificate
	NotBefore time.Time
	Skew      time.Duration // by which clocks may differ, by the community's policy
}

// Authority verifies and makes detached JWSs (RFC 7515 appendix F). It may be used by
// many goroutines.
type Authority interface {
	// Verify returns who signed content, once the signature, the path of the
	// certificate to a trust community and its revocation status are verified. A
	// refusal is a *trace.Error that tr records.
	Verify(ctx context.Context, jws string, content []byte, tr *trace.Trace) (*Signer, error)
	// Sign returns a JWS over content, made with the server's own key, and the URI of
	// its certificate.
	Sign(content []byte, h Header) (jws, who string, err error)
}

// Header is what the header of a JWS has beside the algorithm and the certificates.
type Header struct {
	Canon      Form
	SignedAt   string // sigT
	Commitment string // URI of the purpose
}

// Signatures returns the signatures of a Provenance or a Bundle; none for other types.
func Signatures(resource *tree.Value) []tree.Value {
	switch resource.Get("resourceType").Text() {
	case "Provenance", "Bundle":
		return resource.Get("signature").Each()
	}
	return nil
}

// Signed returns the resources that have signatures: the resource itself, those that it
// contains, and those in a Bundle's entries.
func Signed(resource *tree.Value) (all []*tree.Value) {
	if len(Signatures(resource)) > 0 {
		all = append(all, resource)
	}

	contained := resource.Get("contained").Each()
	for i := range contained {
		all = append(all, Signed(&contained[i])...)
	}
	if resource.Get("resourceType").Text() != "Bundle" {
		return all
	}

	entries := resource.Get("entry").Each()
	for i := range entries {
		if inner := entries[i].Get("resource"); inner != nil {
			all = append(all, Signed(inner)...)
		}
	}

	return all
}

// Verification is one decision on the signatures of a resource and of those in it.
type Verification struct {
	Authority Authority // nil: no signature can be verified
	Now       time.Time
	Trace     *trace.Trace
	Left      *atomic.Int64 // bytes that may still be read and hashed; nil: no bound

	count int // signatures so far
}

// Verify verifies that all signatures were made of the resources that they target, in
// their order. lasts reports whether a form of the targets is the same once they are
// stored. A refusal is a *trace.Error.
func (v *Verification) Verify(
	ctx context.Context, signatures []tree.Value, targets []*tree.Value, lasts func(Form) error,
) error {
	if v.count += len(signatures); v.count > MaxSignatures {
		return v.Trace.Refuse(checkCount, trace.InvalidRequest, trace.Finding{
			Expected: fmt.Sprintf("at most %d signatures", MaxSignatures),
			Found:    fmt.Sprint(v.count),
		})
	}
	if v.Authority == nil {
		return v.Trace.Refuse(checkSupported, trace.InvalidRequest, trace.Finding{
			Expected: "no signature",
			Found:    "a signature",
			Remedy:   "send it without: this server cannot verify signatures",
		})
	}

	for i := range signatures {
		if err := v.one(ctx, &signatures[i], targets, lasts); err != nil {
			return err
		}
	}

	return nil
}

func (v *Verification) one(
	ctx context.Context, signature *tree.Value, targets []*tree.Value, lasts func(Form) error,
) error {
	e, err := decode(signature, v.Trace)
	if err != nil {
		return err
	}
	if err := v.form(e.form, targets, lasts); err != nil {
		return err
	}

	for _, t := range targets {
		if err := v.Spend(len(t.Raw)); err != nil {
			return err
		}
	}

	signer, err := v.Authority.Verify(ctx, e.jws, Content(targets, e.form), v.Trace)
	if err != nil {
		return err
	}

	return v.Trace.Collect(
		func() error { return v.who(e, signer) },
		func() error { return v.when(e, signer) },
	)
}

// Spend counts bytes that are read or hashed, and refuses more than are left.
func (v *Verification) Spend(bytes int) error {
	if v.Left == nil || v.Left.Add(-int64(bytes)) >= 0 {
		return nil
	}
	return v.Trace.Refuse(checkCost, trace.InvalidRequest, trace.Finding{
		Expected: "signatures over little enough to be verified in one request",
		Found:    "more than is verified at once",
		Remedy:   "send fewer signatures at once, or sign fewer or smaller resources",
	})
}

// form checks that a form is one of the targets, and lasts.
func (v *Verification) form(f Form, targets []*tree.Value, lasts func(Form) error) error {
	err := lasts(f)
	for _, t := range targets {
		if typ := t.Get("resourceType").Text(); f == Document && typ != "Bundle" {
			err = fmt.Errorf("#document, of a %s: it is for Bundles", typ)
		}
	}

	if err != nil {
		return v.Trace.Refuse(checkForm, trace.InvalidRequest, trace.Finding{
			Expected: "a form that lasts",
			Found:    err.Error(),
			Remedy:   "sign #document of a Bundle, and #static of another resource",
		})
	}

	v.Trace.Pass(checkForm, "a form that lasts", string(f))
	return nil
}

// who checks that the signature names its signer.
func (v *Verification) who(e *element, s *Signer) error {
	if !slices.Contains(s.URIs, e.who) {
		return v.Trace.Refuse(checkWho, trace.InvalidRequest, trace.Finding{
			Expected: "one of " + strings.Join(s.URIs, ", "),
			Found:    orNone(e.who),
			Remedy:   "let who.identifier.value be a URI of the certificate's Subject Alternative Name",
		})
	}
	v.Trace.Pass(checkWho, strings.Join(s.URIs, ", "), e.who)
	return nil
}

// when checks the time of the signature. Its certificate is valid now; that it was
// valid then is known from its first day on.
func (v *Verification) when(e *element, s *Signer) error {
	at := e.when
	f := trace.Finding{
		Expected: "from " + trace.Stamp(s.NotBefore) + " to " + trace.Stamp(v.Now),
		Found:    trace.Stamp(at),
	}
	if at.After(v.Now.Add(s.Skew)) || at.Before(s.NotBefore.Add(-s.Skew)) {
		f.Remedy = "set when to the time of signing, and check the clock"
		return v.Trace.Refuse(checkWhen, trace.InvalidRequest, f)
	}

	if e.sigT != nil {
		signed, err := time.Parse(time.RFC3339, e.sigT.Text())
		if err != nil || !signed.Truncate(time.Second).Equal(at.Truncate(time.Second)) {
			return v.Trace.Refuse(checkWhen, trace.InvalidRequest, trace.Finding{
				Expected: "sigT " + trace.Stamp(at) + ", as in when",
				Found:    e.sigT.Literal(),
			})
		}
	}

	v.Trace.Pass(checkWhen, f.Expected, f.Found)
	return nil
}

// NoTarget refuses a target of a signed Provenance.
func (v *Verification) NoTarget(found, remedy string) error {
	return v.Trace.Refuse(checkTarget, trace.InvalidRequest, trace.Finding{
		Expected: "Type/id/_history/version, of a version that is here and that the client may read",
		Found:    orNone(found),
		Remedy:   remedy,
	})
}
