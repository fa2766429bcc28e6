package load

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/scope"
)

// Import is the operation $import: the NDJSON that a request carries is stored as far
// as its token may write. It implements async.Kind. Addresses of files are not
// accepted: this server fetches nothing that a client names.
type Import struct {
	PublicBase string
	Service    Service
}

var _ async.Kind = (*Import)(nil)

var mediaTypes = []string{"application/fhir+ndjson", "application/ndjson", "application/x-ndjson"}

// Check implements async.Kind.
func (m *Import) Check(_ context.Context, a *fhir.Asked) error {
	if err := fhir.CheckBody(a.Header, mediaTypes...); err != nil {
		return err
	}
	if len(bytes.TrimSpace(a.Body)) == 0 {
		return fhir.Refuse(
			http.StatusBadRequest,
			"required",
			"The body has no resources.",
			"",
		)
	}

	if len(a.Access.Types(scope.Create))+len(a.Access.Types(scope.Update)) == 0 {
		return fhir.RefusedAccess(a.Access.MayOneOf("Patient", scope.Create, scope.Update))
	}
	return nil
}

// counted is how many resources of a type were stored.
type counted struct {
	Type  string `json:"type"`
	Count int64  `json:"count"`
}

// refusals is the file of what was refused.
type refusals struct {
	Type  string `json:"type"`
	URL   string `json:"url"`
	Count int64  `json:"count"`
}

// result is the answer of a finished import.
type result struct {
	TransactionTime     string     `json:"transactionTime"`
	Request             string     `json:"request"`
	RequiresAccessToken bool       `json:"requiresAccessToken"`
	Lines               int64      `json:"lines"`
	Refused             int64      `json:"refused"`
	Output              []counted  `json:"output"`
	Error               []refusals `json:"error"`
}

// Do implements async.Kind. After a restart it goes on where it was.
func (m *Import) Do(ctx context.Context, w *async.Work) error {
	at, err := m.run(ctx, w)
	for errors.Is(err, fhir.ErrOvertaken) { // by an earlier attempt's last step, or by a later one
		if err = w.Ours(ctx); err == nil {
			at, err = m.run(ctx, w)
		}
	}
	if err != nil {
		return err
	}

	out := result{
		TransactionTime:     w.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		Request:             w.Asked.URL(m.PublicBase),
		RequiresAccessToken: true,
		Lines:               at.Line,
		Refused:             at.Refused,
		Output:              []counted{},
		Error:               []refusals{},
	}

	for _, typ := range slices.Sorted(maps.Keys(at.Stored)) {
		out.Output = append(out.Output, counted{typ, at.Stored[typ]})
	}
	if len(at.First) > 0 {
		f, err := writeRefusals(w, at.First)
		if err != nil {
			return err
		}
		out.Error = append(out.Error, f)
	}

	body, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return w.Finish("application/json", body)
}

// run loads the lines from where the last step has ended.
func (m *Import) run(ctx context.Context, w *async.Work) (Place, error) {
	size := int64(len(w.Asked.Body))
	return Run(ctx, Config{
		Service: m.Service,
		Asked:   &w.Asked,
		Mark:    w.Mark(),
		File:    w.ID,
		Progress: func(p Place) error {
			w.Progress(
				"%d%%: %d stored, %d refused",
				p.Offset*100/max(size, 1),
				p.Total(),
				p.Refused,
			)
			if err := w.Reached(ctx, p.Offset); err != nil {
				return err
			}
			return w.Alive(ctx)
		},
	}, bytes.NewReader(w.Asked.Body))
}

// writeRefusals writes a file of OperationOutcomes, the first that there were.
func writeRefusals(w *async.Work, first []fhir.Refused) (refusals, error) {
	f, err := w.Create("OperationOutcome.1.ndjson", mediaTypes[0])
	if err != nil {
		return refusals{}, err
	}

	for _, r := range first {
		if err := f.Line(r.Outcome); err != nil {
			f.Abandon()
			return refusals{}, err
		}
	}

	return refusals{
		Type:  "OperationOutcome",
		URL:   w.URL(f.Name),
		Count: f.Count,
	}, f.Close()
}
