package fhir

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fhirdest.example/fhir/provenance"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/udap/trace"
)

// verifySigned verifies the signatures that a resource has, and those in it.
func (s *core) verifySigned(r *request, in *incoming) error {
	if len(in.signed) == 0 {
		return nil
	}

	return s.verifying(r, in, func(ctx context.Context, v *signature.Verification) error {
		for _, resource := range in.signed {
			lasts := everyForm
			if resource == in.root && in.typ == "Bundle" {
				lasts = lastsInBundle(r.method == http.MethodPut && len(r.path) == 2)
			}
			if err := s.verifyOne(ctx, r, resource, v, lasts); err != nil {
				return err
			}
		}

		return nil
	})
}

// verifyOne verifies the signatures of one resource: those of a Bundle are over its own
// content, those of a Provenance over its targets.
func (s *core) verifyOne(
	ctx context.Context, r *request, resource *tree.Value, v *signature.Verification, lasts func(signature.Form) error,
) error {
	targets := []*tree.Value{resource}
	if resource.Get("resourceType").Text() == "Provenance" {
		var err error
		if targets, err = s.signedTargets(r, resource, v); err != nil {
			return err
		}
	}
	return v.Verify(ctx, signature.Signatures(resource), targets, lasts)
}

// everyForm is for content that is stored as it was signed, as versions and resources
// within others are, or that is not stored at all.
func everyForm(signature.Form) error { return nil }

// lastsInBundle reports which forms of a Bundle are the same once it is stored; keepsID
// is whether it keeps its id.
func lastsInBundle(keepsID bool) func(signature.Form) error {
	return func(f signature.Form) error {
		if f == signature.Document || f == signature.Static && keepsID {
			return nil
		}
		return fmt.Errorf("%s, of which the server changes id or meta", f)
	}
}

// verifyWhole verifies the signature that a batch or transaction has.
func (s *core) verifyWhole(r *request, root *tree.Value) error {
	signatures := signature.Signatures(root)
	if len(signatures) == 0 {
		return nil
	}
	return s.verifying(r, &incoming{}, func(ctx context.Context, v *signature.Verification) error {
		return v.Verify(ctx, signatures, []*tree.Value{root}, everyForm)
	})
}

// maxSigned bounds, in bytes, what the signatures of one request are over: each target
// counts when it is read, and once more for each signature.
const maxSigned = 64 << 20

// signable returns how much of maxSigned is left to a request and its entries.
func (r *request) signable() *atomic.Int64 {
	if r.signed == nil {
		r.signed = new(atomic.Int64)
		r.signed.Store(maxSigned)
	}
	return r.signed
}

// verifying makes one decision on signatures, and hands its trace to the operator.
func (s *core) verifying(
	r *request, in *incoming, decide func(context.Context, *signature.Verification) error,
) error {
	v := &signature.Verification{
		Authority: s.Signatures,
		Now:       r.now,
		Trace:     trace.NewTrace("signature", r.now),
		Left:      r.signable(),
	}
	v.Trace.ClientID = trace.ClientID(r.grant.Client)

	ctx, cancel := context.WithTimeout(r.ctx, s.Timeout)
	defer cancel()
	if err := decide(ctx, v); err != nil {
		return s.refusedTrace(v.Trace, err, http.StatusUnprocessableEntity, "security")
	}

	if s.Decided != nil {
		s.Decided(v.Trace)
	}
	in.verified = true
	return nil
}

// signedTargets returns the versions that a signed Provenance targets. Who may not read
// one learns nothing of it: its content could be guessed by signing.
func (s *core) signedTargets(
	r *request, provenance *tree.Value, v *signature.Verification,
) (targets []*tree.Value, err error) {
	refs := provenance.Get("target").Each()
	if len(refs) > signature.MaxTargets {
		return nil, v.NoTarget(fmt.Sprintf("%d targets", len(refs)),
			fmt.Sprintf("sign at most %d at once", signature.MaxTargets))
	}

	err = s.Store.View(r.ctx, func(sn Snapshot) error {
		targets = nil
		for i := range refs {
			e, err := s.signedTarget(sn, r, refs[i].Get("reference").Literal(), v)
			if err != nil {
				return err
			}
			if err := v.Spend(len(e.Body)); err != nil {
				return err
			}

			root, err := stored(e)
			if err != nil {
				return err
			}
			targets = append(targets, root)
		}

		return nil
	})
	return targets, err
}

func (s *core) signedTarget(
	sn Snapshot, r *request, reference string, v *signature.Verification,
) (Entry, error) {
	ref := s.ex.Bases.ParseRef(reference)
	version, err := strconv.ParseUint(ref.Version, 10, 64)
	if ref.Type == "" || err != nil || strings.HasPrefix(ref.Version, "0") {
		return Entry{}, v.NoTarget(reference, "name the version that was signed, as Content-Location and ETag give it")
	}

	e, ok, err := versionOf(r.ctx, sn, ref.Type, ref.ID, version)
	if ok && err == nil {
		ok, err = r.shows(sn, scope.Read, e)
	}
	if err != nil {
		return Entry{}, err
	}
	if !ok || e.Deleted {
		return Entry{}, v.NoTarget(reference, "")
	}

	return e, nil
}

// prepareSign makes a Provenance with the server's signature of a resource.
func (s *writer) prepareSign(r *request) error {
	if err := r.may(scope.Create, "Provenance"); err != nil {
		return err
	}

	var root *tree.Value
	err := s.Store.View(r.ctx, func(sn Snapshot) error {
		e, err := r.find(sn, scope.Read, r.path[0], r.path[1])
		if err != nil {
			return err
		}
		r.subject = e
		if r.signable().Add(-int64(len(e.Body))) < 0 {
			return fail(http.StatusUnprocessableEntity, "too-costly",
				"The resources that one request signs are too long in all: send fewer $sign at once.")
		}

		root, err = stored(e) // a copy of the body
		return err
	})
	if err != nil {
		return err
	}

	form := signature.FormOf(root)
	element, who, err := signature.Make(s.Signatures, root, form, r.now)
	if err != nil {
		f := fail(http.StatusServiceUnavailable, "transient", "The server cannot sign at present.")
		f.cause = err
		return f
	}

	rec := provenance.Record{
		ID:       newID(r.now),
		At:       r.now.UTC().Truncate(time.Millisecond),
		Patients: patientsOf(nil, r.subject),
		Labels:   labelsOf(r.subject),
		Targets: []provenance.Target{{
			Type:    r.subject.Type,
			ID:      r.subject.ID,
			Version: r.subject.Version,
		}},
	}
	r.in, err = s.readResource(rec.Signed(who, element), r.now, validate.Options{})
	if err != nil {
		return err
	}

	r.in.verified = true
	r.subject.Body, r.subject.Terms = nil, nil
	return nil
}

// storeSigned answers POST [base]/Type/id/$sign: the Provenance that was made.
func (s *writer) storeSigned(c Change, r *request) (*response, error) {
	r.touch(r.subject)
	return s.putNew(c, r, scope.Create, r.in.newID, 1)
}

// verifySent verifies the signature of a Provenance in the header: what it signs must
// be known before the change is done.
func (s *core) verifySent(r *request, in *incoming) error {
	known := r.in != nil && len(r.path) == 2 && r.in.id == r.path[1] && r.method == http.MethodPut && !r.inner
	return s.verifying(r, in, func(ctx context.Context, v *signature.Verification) error {
		for _, resource := range in.signed {
			if resource != in.root {
				if err := s.verifyOne(ctx, r, resource, v, everyForm); err != nil {
					return err
				}
			}
		}

		if len(signature.Signatures(in.root)) == 0 {
			return nil
		}

		if !known {
			return v.NoTarget("a version that the server makes of what is sent",
				"store the resource, then sign it and POST the Provenance")
		}

		return v.Verify(ctx, signature.Signatures(in.root), []*tree.Value{r.in.root}, func(f signature.Form) error {
			if f != signature.Static && f != signature.Narrative {
				return fmt.Errorf("%s, of which the server changes meta", f)
			}
			return nil
		})
	})
}
