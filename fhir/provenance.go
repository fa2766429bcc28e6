package fhir

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"fhirdest.example/fhir/provenance"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/udap/trace"
)

// change notes a version that was stored, for its Provenance.
func (n *notes) change(activity provenance.Activity, e Entry) {
	n.changes = append(n.changes, provenance.Change{
		Target: provenance.Target{
			Type:    e.Type,
			ID:      e.ID,
			Version: e.Version,
		},
		Activity: activity,
		Patients: patientsOf(nil, e),
		Labels:   labelsOf(e),
	})
}

// labelsOf returns the security labels of a version.
func labelsOf(e Entry) (labels []provenance.Label) {
	search.Tokens(e.Type, "_security", e.Terms, func(system, code string) {
		labels = append(labels, provenance.Label{
			System: system,
			Code:   code,
		})
	})
	return labels
}

func codingsOf(labels []provenance.Label) []search.Coding {
	all := make([]search.Coding, 0, len(labels))
	for _, l := range labels {
		all = append(all, search.Coding(l))
	}
	return all
}

// targetsOf returns what the entries of a transaction have changed.
func targetsOf(entries []*batchEntry) []provenance.Change {
	var all []provenance.Change
	for _, e := range entries {
		all = append(all, e.req.notes.changes...)
	}
	return all
}

// prove stores the Provenance of what a request has changed: the one that its header
// brings, or those that the server makes.
func (s *writer) prove(c Change, r *request, changes []provenance.Change) error {
	if !s.Provenance || len(changes) == 0 {
		return nil
	}
	if r.provenance != nil {
		return s.storeSent(c, r, changes[0])
	}

	now := r.now.UTC().Truncate(time.Millisecond)
	party := s.party(r.grant)
	for _, rec := range provenance.Group(changes) {
		rec.ID, rec.At, rec.Party = newID(now), now, party
		rec.Marks = s.labels.MarksOf(codingsOf(rec.Labels))
		_, err := c.Put(r.ctx, Entry{
			Type:    "Provenance",
			ID:      rec.ID,
			Version: 1,
			Updated: now,
			Method:  http.MethodPost,
			Terms:   rec.Terms(),
			Body:    rec.Body(),
		})
		if err != nil {
			return err
		}
	}

	return nil
}

// party returns whose request a grant's is.
func (s *core) party(g *Grant) *provenance.Party {
	p := &provenance.Party{
		Base:    s.PublicBase,
		Client:  g.Client,
		Subject: g.Subject,
		User:    g.User,
	}
	if a := g.Asserted; a != nil {
		p.Organization, p.OrganizationName = a.Organization, a.OrganizationName
		p.SubjectID, p.SubjectName = a.SubjectID, a.SubjectName
	}
	return p
}

// provenanceHeader brings a Provenance of what its request changes (R4
// provenance.html#header).
const provenanceHeader = "X-Provenance"

// maxProvenance bounds that header, in bytes.
const maxProvenance = 32 << 10

// The checks on X-Provenance.
var (
	checkProvenance = trace.NewCheck("provenance.header",
		"X-Provenance is one Provenance resource in JSON, on a request that changes one resource", "FS-505")
	checkProvenanceTarget = trace.NewCheck("provenance.target",
		"The target of X-Provenance is absent, or the resource that the request changes", "FS-505")
)

// refuseProvenance refuses a request for its header X-Provenance.
func (s *core) refuseProvenance(r *request, c trace.Check, f trace.Finding) error {
	t := trace.NewTrace("provenance", r.now)
	t.ClientID = trace.ClientID(r.grant.Client)
	return s.refusedTrace(t, t.Refuse(c, trace.InvalidRequest, f), http.StatusBadRequest, "invalid")
}

// refusedTrace makes the answer of a refusal that a trace records.
func (s *core) refusedTrace(t *trace.Trace, err error, status int, code string) error {
	if s.Decided != nil {
		s.Decided(t)
	}

	var refusal *trace.Error
	if !errors.As(err, &refusal) {
		return err
	}

	f := fail(status, code, refusal.Check+": "+refusal.Detail)
	f.trace = t.ID
	if refusal.Code == trace.TemporarilyUnavailable {
		f.status, f.issues[0].code, f.retry, f.cause = http.StatusServiceUnavailable, "transient", 10, err
	}
	return f
}

// changesOne lists the interactions that change one resource.
var changesOne = []string{"create", "update", "patch", "delete"}

// prepareProvenance parses and validates the Provenance of the header, with a target
// that stands for the one that is known once the change is done.
func (s *Service) prepareProvenance(in *interaction, r *request) error {
	lines := r.header.Values(provenanceHeader)
	if len(lines) == 0 || r.method == http.MethodGet || r.method == http.MethodHead || in.read != nil {
		return nil
	}

	refuse := func(found, remedy string) error {
		return s.refuseProvenance(r, checkProvenance, trace.Finding{
			Expected: fmt.Sprintf("one Provenance in JSON of at most %d bytes", maxProvenance),
			Found:    found,
			Remedy:   remedy,
		})
	}
	switch {
	case !slices.Contains(changesOne, in.name):
		return refuse("the header on "+in.name, "send the Provenance as a resource, in a Bundle as an entry")
	case !s.Provenance:
		return refuse("the header", "send the Provenance as a resource: this server does not keep those of headers")
	case r.path[0] == "Provenance":
		return refuse("the header on a Provenance", "a Provenance has none itself")
	case len(lines) > 1:
		return refuse(fmt.Sprintf("%d headers", len(lines)), "")
	case len(lines[0]) > maxProvenance:
		return refuse(fmt.Sprintf("%d bytes", len(lines[0])), "")
	}
	if err := r.may(scope.Create, "Provenance"); err != nil {
		return err
	}

	sent, err := tree.Parse([]byte(lines[0]))
	if err != nil {
		return refuse(err.Error(), "")
	}
	if typ := sent.Get("resourceType").Text(); typ != "Provenance" {
		return refuse("resourceType "+typ, "")
	}
	return s.readProvenance(r, sent, []byte(lines[0]))
}

// readProvenance validates the Provenance of the header, once it has a target.
func (s *core) readProvenance(r *request, sent *tree.Value, body []byte) error {
	at := provenance.Target{
		Type:    r.path[0],
		ID:      "x",
		Version: 1,
	}
	if len(r.path) > 1 {
		at.ID = r.path[1]
	}

	targets := sent.Get("target").Each()
	for i := range targets {
		ref := s.ex.Bases.ParseRef(targets[i].Get("reference").Literal())
		if len(r.path) == 1 || ref.Type != at.Type || ref.ID != at.ID {
			return s.refuseProvenance(r, checkProvenanceTarget, trace.Finding{
				Expected: "no target: the server fills it in",
				Found:    targets[i].Get("reference").Literal(),
				Remedy:   "leave target out, or send the Provenance as a resource",
			})
		}
	}

	body, err := provenance.Aim(body, sent, provenance.Change{Target: at})
	if err != nil {
		return err
	}
	in, err := s.readResource(body, r.now, validate.Options{})
	if err != nil {
		return s.refuseProvenance(r, checkProvenance, trace.Finding{
			Expected: "a Provenance as R4 defines it",
			Found:    asFailure(err).issues[0].path + ": " + asFailure(err).issues[0].detail,
		})
	}

	r.provenance = in
	if len(in.signed) == 0 {
		return nil
	}
	return s.verifySent(r, in)
}

// storeSent stores the Provenance of the header, aimed at what was changed.
func (s *writer) storeSent(c Change, r *request, of provenance.Change) error {
	in := r.provenance
	body, err := provenance.Aim(in.body, in.root, of)
	if err != nil {
		return err
	}
	root, err := tree.Parse(body)
	if err != nil {
		return err
	}

	e, err := s.entry(root, body, in.typ, in.newID, 1, r.now)
	if err != nil {
		return err
	}
	ok, err := r.access.Stores(r.ctx, source{c}, scope.Create, scope.Create, resourceOf(e))
	if err != nil {
		return err
	}
	if !ok {
		return forbidden("The token does not allow this Provenance.")
	}

	e.Method = http.MethodPost
	if e.Doc, err = c.Put(r.ctx, e); err != nil {
		return err
	}

	sub := *r
	sub.notes = notes{}
	sub.touch(e)
	return s.auditWith(c, &sub, &interaction{name: "create"})
}
