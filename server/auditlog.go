package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/console"
	"fhirdest.example/server/engine"
)

// minKeep is the shortest time for which records may be kept.
const minKeep = time.Hour

func checkKeep(cs *complaint.List, keep time.Duration) {
	if keep != 0 && keep < minKeep {
		cs.Add(
			"write a time such as 2160h (90 days), or leave it out to keep records for ever",
			"audit.keep: %v is too short; it must be at least %v",
			keep,
			minKeep,
		)
	}
}

// AuditReport is what a verification of the audit record found.
type AuditReport struct {
	Intact     bool           `json:"intact"`
	Records    uint64         `json:"records"`             // that are there
	First      string         `json:"first,omitzero"`      // id of the first AuditEvent
	Last       string         `json:"last,omitzero"`       // id of the last AuditEvent
	Removed    uint64         `json:"removed,omitzero"`    // records that were too old: see Audit.Keep
	Checkpoint string         `json:"checkpoint,omitzero"` // number and hash of the last record of each chain
	Chains     []AuditChain   `json:"chains,omitempty"`    // of destinations that share a database
	Findings   []AuditFinding `json:"findings,omitempty"`
	More       int            `json:"more,omitzero"` // findings that are not listed
}

// AuditChain is the audit record of one of the destinations that share a database.
type AuditChain struct {
	Name    string `json:"name"`           // of the destination; empty for one that was alone
	Records uint64 `json:"records"`        // that are there
	First   string `json:"first,omitzero"` // id of the first AuditEvent
	Last    string `json:"last,omitzero"`  // id of the last AuditEvent
	Removed uint64 `json:"removed,omitzero"`
}

// AuditFinding is something wrong with the audit record.
type AuditFinding struct {
	Chain   string `json:"chain,omitzero"`  // name of the destination; empty for one alone
	Record  uint64 `json:"record,omitzero"` // number of the record in its chain
	ID      string `json:"id,omitzero"`     // of the AuditEvent
	Problem string `json:"problem"`
}

// String names the place and the problem.
func (f AuditFinding) String() string {
	return trail.Finding{
		Chain:    f.Chain,
		Sequence: f.Record,
		Doc:      f.number(),
		Problem:  f.Problem,
	}.String()
}

func (f AuditFinding) number() uint64 {
	doc, _ := trail.Doc(f.ID)
	return doc
}

// maxReport bounds, in bytes, the report of a running destination.
const maxReport = 1 << 20

// VerifyAudit verifies the audit record in dir, a backup or data directory whose
// destination is stopped; "" is the destination's own, which may be running: then it
// verifies the record itself. checkpoint is "", or that of an earlier report.
func VerifyAudit(
	ctx context.Context, c Config, dir, checkpoint string,
) (*AuditReport, error) {
	if err := c.checkBackup(); err != nil {
		return nil, err
	}
	earlier, err := parseCheckpoint(checkpoint)
	if err != nil {
		return nil, err
	}

	own := dir == ""
	e := storage{c}.engine()
	if !own {
		e = engine.Of(engine.Settings{Data: dir})
	}
	r, err := e.VerifyAudit(ctx, earlier)
	if own && engine.HeldOpen(err) {
		return askToVerify(ctx, c.Admin.Listen, checkpoint)
	}
	if err != nil {
		return nil, complaintOf(err)
	}
	return reportOf(r), nil
}

func parseCheckpoint(text string) (trail.Checkpoint, error) {
	if text == "" {
		return nil, nil
	}
	c, ok := trail.ParseCheckpoint(text)
	if !ok {
		return nil, complaint.New(
			fmt.Sprintf("%q is no checkpoint", text),
			"write what an earlier verification printed: NUMBER:HASH, or NAME=NUMBER:HASH of each destination, "+
				"separated by commas",
		)
	}
	return c, nil
}

func reportOf(r *trail.Report) *AuditReport {
	out := &AuditReport{
		Intact:     r.Intact(),
		More:       r.More,
		Checkpoint: r.Checkpoint().String(),
	}

	var first, last uint64
	for _, c := range r.Chains {
		out.Records += c.Records
		out.Removed += c.Anchor.Sequence
		last = max(last, c.Head.Doc)
		if c.First > 0 && (first == 0 || c.First < first) {
			first = c.First
		}
		if c.Name != "" || len(r.Chains) > 1 {
			out.Chains = append(out.Chains, AuditChain{
				Name:    c.Name,
				Records: c.Records,
				First:   idOf(c.First),
				Last:    idOf(c.Head.Doc),
				Removed: c.Anchor.Sequence,
			})
		}
	}
	out.First = idOf(first)
	out.Last = idOf(last)

	for _, f := range r.Findings {
		found := AuditFinding{
			Chain:   f.Chain,
			Record:  f.Sequence,
			ID:      idOf(f.Doc),
			Problem: f.Problem,
		}
		out.Findings = append(out.Findings, found)
	}
	return out
}

// idOf returns the id of the AuditEvent of a record; empty for none.
func idOf(doc uint64) string {
	if doc == 0 {
		return ""
	}
	return trail.ID(doc)
}

// verifyPath is where the administration listener verifies the audit record.
const verifyPath = "/audit/verify"

// askToVerify has the running destination verify its audit record.
func askToVerify(ctx context.Context, admin, checkpoint string) (*AuditReport, error) {
	target := "http://" + admin + verifyPath + "?checkpoint=" + url.QueryEscape(checkpoint)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, complaint.New(
			"the destination is running, and its administration listener does not answer: "+err.Error(),
			"check admin.listen in the configuration, or verify a backup",
		)
	}
	defer resp.Body.Close()

	out := new(AuditReport)
	body := io.LimitReader(resp.Body, maxReport)
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(body, 1<<10))
		return nil, complaint.New(
			fmt.Sprintf("the running destination answered %d: %s", resp.StatusCode, text),
			"try again, or verify a backup",
		)
	}
	return out, json.UnmarshalRead(body, out)
}

// auditLog is the audit record of a site.
type auditLog struct {
	service *fhir.Service // nil: there is none
	store   engine.Resources
	keep    time.Duration
	now     func() time.Time
	log     *slog.Logger
}

func newAuditLog(s *Site) auditLog {
	return auditLog{
		service: s.service,
		store:   s.stores.Resources,
		keep:    s.cfg.Audit.Keep,
		now:     s.deps.Now,
		log:     s.deps.Log,
	}
}

// verify is the administration listener's: it verifies the record in use.
func (a auditLog) verify(ctx context.Context, checkpoint string) (any, error) {
	earlier, err := parseCheckpoint(checkpoint)
	if err != nil {
		return nil, &console.BadQuestion{Text: err.Error()}
	}
	if a.service != nil {
		if err := a.service.FlushAudit(); err != nil {
			return nil, err
		}
	}

	r, err := a.store.VerifyAudit(ctx, earlier)
	if err != nil {
		return nil, err
	}
	return reportOf(r), nil
}

// perExpiry is about how many records one step removes.
const perExpiry = 2048

// expire removes audit records that are too old, until ctx ends.
func (a auditLog) expire(ctx context.Context) {
	if a.keep == 0 || a.service == nil {
		return
	}

	tick := time.NewTicker(max(time.Minute, min(time.Hour, a.keep/24)))
	defer tick.Stop()
	for {
		n, err := a.expireOnce(ctx, a.now().Add(-a.keep))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.Error("audit records that are too old were not removed", "cause", err)
		case n > 0:
			a.log.Info("audit records that were too old were removed", "records", n)
		}

		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// expireOnce removes the records made before a moment, in steps of bounded length, and
// records that.
func (a auditLog) expireOnce(ctx context.Context, before time.Time) (total int, err error) {
	for n := 1; n > 0 && err == nil; total += n {
		err = a.store.Update(ctx, func(c fhir.Change) (err error) {
			n, err = c.Expire(ctx, before, perExpiry)
			return err
		})
		if err != nil {
			n = 0
		}
	}

	if total > 0 {
		err = errors.Join(err, a.service.Audit(trail.Record{Event: expiryEvent(before, total)}))
	}
	return total, err
}

func expiryEvent(before time.Time, total int) *trail.Event {
	return &trail.Event{
		Type: trail.Coding{
			System:  "http://dicom.nema.org/resources/ontology/DCM",
			Code:    "110101",
			Display: "Audit Log Used",
		},
		Action: "D",
		Entities: []trail.Entity{{
			Type: trail.Coding{
				System:  "http://terminology.hl7.org/CodeSystem/audit-entity-type",
				Code:    "2",
				Display: "System Object",
			},
			Role: trail.Coding{
				System:  "http://terminology.hl7.org/CodeSystem/object-role",
				Code:    "13",
				Display: "Security Resource",
			},
			Name: "audit record",
			Detail: []trail.Detail{
				{
					Type:  "made before",
					Value: before.UTC().Format(time.RFC3339),
				},
				{
					Type:  "removed records",
					Value: strconv.Itoa(total),
				},
			},
		}},
	}
}
