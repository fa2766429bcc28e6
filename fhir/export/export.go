package export

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
)

// Config is what exports need. All fields must be set.
type Config struct {
	PublicBase string // FHIR base URL that clients know
	Store      fhir.Store
	Service    Service
}

// Service is the part of fhir.Service that exports need.
type Service interface {
	Bases() search.Bases
	// Viewer returns what decides about access for a request that was accepted.
	Viewer(ctx context.Context, g *fhir.Grant, h http.Header) *fhir.Viewer
	// Settle returns a moment up to which no resource will be changed any more.
	Settle(ctx context.Context) (time.Time, error)
	// Disclose records the patients whose data was given out.
	Disclose(a *fhir.Asked, patients []string, why error) error
}

// Export is $export. It implements async.Kind.
type Export struct{ Config }

var _ async.Kind = (*Export)(nil)

// New returns the operation $export.
func New(c Config) *Export { return &Export{c} }

// Check implements async.Kind. What the export is about must be there for the grant.
func (x *Export) Check(ctx context.Context, a *fhir.Asked) error {
	r := a.Access
	q, err := readQuery(a, r, x.Service.Bases())
	if err != nil {
		return err
	}

	return x.Store.View(ctx, func(sn fhir.Snapshot) error {
		if q.group != "" {
			if err := present(ctx, sn, r, "Group", q.group); err != nil {
				return err
			}
		}

		for _, id := range q.patients {
			if err := present(ctx, sn, r, "Patient", id); err != nil {
				return err
			}
		}

		return nil
	})
}

// present refuses what is not there for a grant.
func present(ctx context.Context, sn fhir.Snapshot, r *access.Reader, typ, id string) error {
	if err := r.May(scope.Read, typ); err != nil {
		return fhir.RefusedAccess(err)
	}

	e, ok, err := current(ctx, sn, typ, id)
	if err == nil && ok && !e.Deleted {
		src, v := fhir.AccessTo(sn, e)
		ok, _, err = r.Sees(ctx, src, scope.Read, v)
		ok = ok && err == nil
	} else {
		ok = false
	}

	if err == nil && !ok {
		err = fhir.Refuse(http.StatusNotFound, "not-found", "There is no such "+typ+".", "")
	}
	return err
}

func current(ctx context.Context, sn fhir.Snapshot, typ, id string) (fhir.Entry, bool, error) {
	doc, ok, err := sn.Lookup(ctx, typ, id)
	if err != nil || !ok {
		return fhir.Entry{}, false, err
	}
	return sn.Entry(ctx, doc)
}

// Do implements async.Kind. An export that was interrupted begins anew, with a new
// moment: its client has not seen anything of the first.
func (x *Export) Do(ctx context.Context, w *async.Work) error {
	r := x.Service.Viewer(ctx, w.Asked.Grant, w.Asked.Header)
	q, err := readQuery(&w.Asked, r.Reader, x.Service.Bases())
	if err != nil {
		return err
	}

	t := &task{
		Export: x,
		query:  q,
		work:   w,
		viewer: r,
		out:    newOutput(w),
		about:  map[string]bool{},
	}
	err = t.run(ctx)
	if err != nil {
		t.out.abandon()
	}

	return errors.Join(err, t.disclosed(true, err))
}

// manifest is the answer of a finished export (Bulk Data 2.0, "Response - Complete
// Status").
type manifest struct {
	TransactionTime     string `json:"transactionTime"`
	Request             string `json:"request"`
	RequiresAccessToken bool   `json:"requiresAccessToken"`
	Output              []file `json:"output"`
	Deleted             []file `json:"deleted"`
	Error               []file `json:"error"`

	Extension extension `json:"extension,omitzero"`
}

// extension holds what the guide leaves to servers.
type extension struct {
	// Security is the label of all resources together: that of the most confidential one
	// (R4 security-labels.html).
	Security []search.Coding `json:"security,omitempty"`
}

const instant = "2006-01-02T15:04:05.000Z"

// finish writes the manifest.
func (t *task) finish() error {
	if err := t.out.close(); err != nil {
		return err
	}

	body, err := json.Marshal(manifest{
		TransactionTime:     t.moment.time.UTC().Format(instant),
		Request:             t.work.Asked.URL(t.PublicBase),
		RequiresAccessToken: true,
		Output:              t.out.list(listOutput),
		Deleted:             t.out.list(listDeleted),
		Error:               t.out.list(listError),
		Extension:           extension{t.viewer.Security()},
	})
	if err != nil {
		return err
	}

	return t.work.Finish("application/json", body)
}
