package async

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap/trace"
)

// Checks that a Manager records when they refuse.
var (
	checkOwner = trace.NewCheck("job.owner",
		"the job is one of the client's own, and the token covers what it was begun with", "ER-18")
	checkRoom = trace.NewCheck("job.room", "there is room for one more job", "ER-18")
)

var _ fhir.Jobs = (*Manager)(nil)

// Start implements fhir.Jobs.
func (m *Manager) Start(ctx context.Context, a *fhir.Asked) (string, error) {
	if k := m.Kinds[a.Interaction]; k != nil {
		if err := k.Check(ctx, a); err != nil {
			return "", err
		}
	}

	var random [16]byte
	rand.Read(random[:])
	id := hex.EncodeToString(random[:])
	client := a.Grant.Client
	err := m.Files.Keep(ctx, id, client, a.Body, m.Limits.Room)
	if err == nil {
		err = m.Store.Create(ctx, Job{
			ID:      id,
			Asked:   *a,
			State:   Pending,
			Created: m.Now(),
			Bytes:   int64(len(a.Body)),
		}, m.Limits.Room)
	}
	if err != nil {
		m.removeFiles(context.WithoutCancel(ctx), id)
	}

	for _, full := range []error{ErrFull, ErrClientFull, ErrNoRoom, ErrNoShare} {
		if errors.Is(err, full) {
			return "", m.full(a, full.Error())
		}
	}
	if err != nil {
		return "", unwritable(err)
	}

	m.nudge()
	return id, nil
}

// full refuses a job for which there is no room.
func (m *Manager) full(a *fhir.Asked, found string) error {
	tr := trace.NewTrace("job", m.Now())
	tr.ClientID = trace.ClientID(a.Grant.Client)
	tr.Refuse(checkRoom, trace.TemporarilyUnavailable, trace.Finding{
		Expected: fmt.Sprintf("at most %d jobs of a client that have not ended, and %d with those that have",
			m.Limits.Active, m.Limits.PerClient),
		Found:  found,
		Remedy: "cancel jobs that are not needed (DELETE on their status URLs), or try later",
	})

	m.Decided(tr)
	return fhir.RefuseLater(429, "throttled",
		"There is no room for another job: "+found+". Cancel one, or try later.", 30)
}

// owned returns a job that a grant may use. To everybody else it is not there.
func (m *Manager) owned(ctx context.Context, g *fhir.Grant, id string) (Job, error) {
	job, err := m.Store.Job(ctx, id)
	if err != nil && !errors.Is(err, ErrNoJob) {
		return Job{}, err
	}

	found := "no such job"
	if err == nil {
		if found = differs(job.Asked.Grant, g); found == "" {
			return job, nil
		}
	}

	tr := trace.NewTrace("job", m.Now())
	tr.ClientID = trace.ClientID(g.Client)
	tr.Refuse(checkOwner, trace.AccessDenied, trace.Finding{
		Expected: "a job of this client, and a token with the scopes, patient and person that it was begun with",
		Found:    found,
		Remedy:   "use a token like the one that began the job; a job is removed when it is cancelled or has expired",
	})

	m.Decided(tr)
	return Job{}, fhir.Refuse(404, "not-found", "There is no such job.", tr.ID)
}

// differs returns in what a grant is not one that may use another's job; "" when it
// may.
func differs(job, g *fhir.Grant) string {
	switch {
	case job.Client != g.Client:
		return "a job of another client"
	case job.Registration != g.Registration:
		return "a job that was begun before the client's registration changed"
	case job.Patient != g.Patient, job.Subject != g.Subject:
		return "a job that was begun for another person"
	case standing(job) != standing(g):
		return "a job that was begun with other rights"
	}

	for _, want := range job.Scopes {
		has := slices.ContainsFunc(g.Scopes, func(s scope.Scope) bool {
			return s.String() == want.String()
		})
		if !has {
			return "a token without the scope " + want.String()
		}
	}

	return ""
}

// standing is what must be the same in every token that may use a job: everything but
// the token's own name and life, and its scopes. The purposes of use are among it: they
// may be what lets a token read something.
func standing(g *fhir.Grant) string {
	rest := *g
	rest.TokenID, rest.TokenRef, rest.Expires = "", "", time.Time{}
	rest.Scopes = nil
	rest.Purposes = slices.Sorted(slices.Values(g.Purposes))
	text, err := json.Marshal(rest, json.Deterministic(true))
	if err != nil {
		return rand.Text() // equal to none
	}
	return string(text)
}

// Status implements fhir.Jobs.
func (m *Manager) Status(ctx context.Context, a *fhir.Asked, id string) (*fhir.Status, error) {
	job, err := m.owned(ctx, a.Grant, id)
	if err != nil {
		return nil, err
	}

	switch job.State {
	case Failed:
		f := job.Failure
		return nil, fhir.Refuse(f.Status, f.Code, f.Text, "")
	case Done:
		body, err := m.readResult(ctx, &job)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fhir.Refuse(404, "not-found", "There is no such job.", "")
		}

		return &fhir.Status{
			Done:        true,
			Expires:     job.Expires,
			ContentType: job.ContentType,
			Body:        body,
		}, err
	}

	return &fhir.Status{
		Progress: m.progress(&job),
		Retry:    m.pace(m.Now().Sub(job.Created)),
	}, nil
}

// readResult returns the result of a job that is done.
func (m *Manager) readResult(ctx context.Context, j *Job) ([]byte, error) {
	f, err := m.Files.Open(ctx, j.attempt(), resultFile)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(f)
	return body, errors.Join(err, f.Close())
}

// progress is how far a job is that has not ended.
func (m *Manager) progress(j *Job) string {
	m.mu.Lock()
	w := m.active[j.ID]
	m.mu.Unlock()

	text := j.Progress // of another destination
	if w != nil {
		text = w.reported()
	}
	switch {
	case w == nil && j.State == Pending:
		return "waiting"
	case text == "":
		return "begun"
	}
	return text
}

// pace is after how long a client had better ask again.
func (m *Manager) pace(age time.Duration) time.Duration {
	switch {
	case age < 10*time.Second:
		return time.Second
	case age < time.Minute:
		return 5 * time.Second
	}
	return 10 * time.Second
}

// Cancel implements fhir.Jobs.
func (m *Manager) Cancel(ctx context.Context, a *fhir.Asked, id string) error {
	_, err := m.owned(ctx, a.Grant, id)
	if err == nil {
		err = m.Store.Remove(ctx, id)
	}
	if errors.Is(err, ErrNoJob) { // somebody was faster
		return fhir.Refuse(404, "not-found", "There is no such job.", "")
	}
	if err != nil {
		return err
	}

	m.mu.Lock()
	w := m.active[id]
	m.mu.Unlock()
	if w != nil { // its worker removes the files
		w.lose()
		return nil
	}

	m.removeFiles(ctx, id)
	m.removeLater(id) // an earlier attempt may have left a mark
	return nil
}

// File implements fhir.Jobs.
func (m *Manager) File(ctx context.Context, a *fhir.Asked, id, name string) (*fhir.File, error) {
	job, err := m.owned(ctx, a.Grant, id)
	if err != nil {
		return nil, err
	}

	missing := fhir.Refuse(404, "not-found", "The job has no such file.", "")
	i := slices.IndexFunc(job.Files, func(f Made) bool { return f.Name == name })
	if job.State != Done || i < 0 {
		return nil, missing
	}

	f, err := m.Files.Open(ctx, job.attempt(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}

	return &fhir.File{
		Name:        id + "-" + name,
		ContentType: job.Files[i].ContentType,
		Modified:    job.Ended,
		Content:     f,
	}, nil
}
