package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/udap/client"
)

// auditor is the client that reads the audit records of all, and what it has read of
// the clients of a story.
type auditor struct {
	*demo
	*party
	token   string
	patient string            // of the story, as a reference
	names   map[string]string // what we call a client, by its client_id
	start   time.Time
	seen    map[string]bool // ids of AuditEvents
}

// newAuditor registers the auditor of the manifest.
func newAuditor(ctx context.Context, d *demo, patient string) (*auditor, error) {
	about := d.manifest.Auditor
	if about == nil {
		return nil, hidden{"the manifest names no client that reads all audit records"}
	}

	id, err := certs.LoadIdentity(d.file(about.Chain), d.file(about.Key))
	if err != nil {
		return nil, err
	}
	a := &auditor{
		demo: d,
		party: &party{
			uri:      about.URI,
			identity: id,
		},
		patient: patient,
		names:   map[string]string{},
		start:   d.now(),
		seen:    map[string]bool{},
	}
	a.client, err = d.newClient(d.community(0), a.party, "public", d.auditorDial)
	if err != nil {
		return nil, err
	}
	return a, a.join(ctx)
}

func (a *auditor) join(ctx context.Context) error {
	const scope = "system/AuditEvent.rs"
	found, err := a.discover(ctx, a.client)
	if err != nil {
		return err
	}
	reg, err := a.register(ctx, a.client, found, scope)
	if err != nil {
		return err
	}
	token, err := a.askToken(ctx, a.client, found, reg.ClientID, scope)
	if err != nil {
		return err
	}
	a.token = token.Access
	return nil
}

type coding struct {
	Code string `json:"code"`
}

type concept struct {
	Coding []coding `json:"coding"`
}

type identified struct {
	Reference  string `json:"reference"`
	Identifier struct {
		Value string `json:"value"`
	} `json:"identifier"`
}

// auditEvent is what we look at of an AuditEvent.
type auditEvent struct {
	ID      string    `json:"id"`
	Subtype []coding  `json:"subtype"`
	Action  string    `json:"action"`
	Outcome string    `json:"outcome"`
	Purpose []concept `json:"purposeOfEvent"`
	Agent   []struct {
		Who identified `json:"who"`
	} `json:"agent"`
	Entity []struct {
		What   identified `json:"what"`
		Name   string     `json:"name"`
		Detail []struct {
			Value string `json:"valueString"`
		} `json:"detail"`
	} `json:"entity"`
}

// client names the client of the event; "" when it is none of the story.
func (e *auditEvent) client(names map[string]string) string {
	for _, agent := range e.Agent {
		if name := names[agent.Who.Identifier.Value]; name != "" {
			return name
		}
	}
	return ""
}

// purpose returns the purposes of use, each led by a space.
func (e *auditEvent) purpose() (text string) {
	for _, p := range e.Purpose {
		for _, c := range p.Coding {
			text += " " + c.Code
		}
	}
	return text
}

// about names the resource that the event is about: its type, "patient" for that of
// the story, "" for none.
func (e *auditEvent) about(patient string) (name string) {
	for _, thing := range e.Entity {
		ref, _, _ := strings.Cut(thing.What.Reference, "/_history/")
		typ, _, _ := strings.Cut(ref, "/")
		switch {
		case ref == patient && name == "":
			name = "patient"
		case ref != patient && typ != "":
			name = typ
		}
	}
	return name
}

// line writes an event: client, what happened, to what, purposes of use, outcome.
func (a *auditor) line(e *auditEvent) string {
	words := []string{e.client(a.names)}
	if len(e.Subtype) > 0 {
		words = append(words, e.Subtype[0].Code)
	}
	words = append(words, e.Action)
	if about := e.about(a.patient); about != "" {
		words = append(words, about)
	}
	return strings.Join(words, " ") + e.purpose() + " " + e.Outcome
}

// events reads the AuditEvents at a path.
func (a *auditor) events(ctx context.Context, path string) ([]*auditEvent, error) {
	r, err := a.get(ctx, a.client, path, a.token)
	if err != nil {
		return nil, err
	}

	var b struct {
		Entry []struct {
			Resource *auditEvent `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(r.Reply.Body, &b); err != nil {
		return nil, err
	}
	var out []*auditEvent
	for _, e := range b.Entry {
		out = append(out, e.Resource)
	}
	return out, nil
}

// news returns what the record has of the story's clients since the last time.
func (a *auditor) news(ctx context.Context) (out []*auditEvent, err error) {
	for id := range a.names {
		q := url.Values{
			"agent:identifier": {id},
			"_count":           {"500"},
		}
		all, err := a.events(ctx, "AuditEvent?"+q.Encode())
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			if !a.seen[e.ID] {
				a.seen[e.ID] = true
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// recorded expects exactly these events of the story's clients in the record since
// the last time, and returns the id of each.
func (a *auditor) recorded(
	ctx context.Context, step string, want []string,
) (map[string]string, error) {
	ids := map[string]string{}
	var got []string
	return ids, a.settled(ctx, func() error {
		all, err := a.news(ctx)
		if err != nil {
			return err
		}

		for _, e := range all {
			line := a.line(e)
			ids[line] = e.ID
			got = append(got, line)
		}
		return differ("after \""+step+"\" the audit record", got, want)
	})
}

// joining is for how long a record of a read may wait for a commit that it joins.
const joining = time.Second

// settle waits until another destination has stored what it had to record.
func (a *auditor) settle(ctx context.Context) error {
	if a.manifest.Configs["destination2"] == "" {
		return nil
	}
	return pause(ctx, 2*joining)
}

// settled calls f until it returns nil, or until what another destination has recorded
// must be in the record: records of reads join its next shared commit.
func (a *auditor) settled(ctx context.Context, f func() error) error {
	for end := a.now().Add(a.settleTime); ; {
		err := f()
		if err == nil || a.manifest.Configs["destination2"] == "" || !a.now().Before(end) {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// differ returns an error that names what is missing in a list, and what it should
// not have.
func differ(where string, got, want []string) error {
	missing, added := slices.Clone(want), []string(nil)
	for _, g := range got {
		if i := slices.Index(missing, g); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		} else {
			added = append(added, g)
		}
	}

	var err error
	if len(missing) > 0 {
		err = fmt.Errorf("%s lacks: %s", where, strings.Join(missing, "; "))
	}
	if len(added) > 0 {
		slices.Sort(added)
		err = errors.Join(err, fmt.Errorf("%s has: %s", where, strings.Join(added, "; ")))
	}
	return err
}

// refusedToken finds the record of a refusal by its trace.
func (a *auditor) refusedToken(ctx context.Context, r *client.Read) error {
	return a.settled(ctx, func() error {
		all, err := a.events(ctx, "AuditEvent?outcome=4&entity:identifier="+url.QueryEscape(r.Reply.TraceID))
		if err != nil {
			return err
		}
		if len(all) != 1 {
			return fmt.Errorf("the audit record has %d refusals with the trace of the 401", len(all))
		}
		return nil
	})
}

// disclosures expects that exactly these are accounted for: client and purpose of
// each, and how often it got which type of resource.
func (a *auditor) disclosures(ctx context.Context, want []string) error {
	all, err := a.events(ctx, a.patient+"/$disclosures?_count=500&start="+
		url.QueryEscape(a.start.UTC().Format(time.RFC3339)))
	if err != nil {
		return err
	}

	var got []string
	for _, e := range all {
		line := e.client(a.names)
		if line == "" {
			continue // of somebody beside the story
		}
		line += e.purpose()
		for _, thing := range e.Entity {
			for _, d := range thing.Detail {
				line += " " + thing.Name + " " + d.Value
			}
		}
		got = append(got, line)
	}
	return differ("the account of disclosures", got, want)
}
