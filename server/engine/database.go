package engine

import (
	"context"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/postgres"
)

// database is the engine of a PostgreSQL database.
type database struct{ Settings }

// schemas open the stores of a site on a database.
var schemas = []func(context.Context, postgres.Config, *Stores) error{openTrust, openResources, openJobs}

func openTrust(ctx context.Context, c postgres.Config, s *Stores) error {
	trust, err := postgres.OpenTrust(ctx, c)
	if err != nil {
		return err
	}
	s.Trust, s.Trips = trust, postgres.Trips{Trust: trust}
	return nil
}

func openResources(ctx context.Context, c postgres.Config, s *Stores) error {
	resources, err := postgres.OpenFHIR(ctx, c)
	if err != nil {
		return err
	}
	s.Resources = resources
	return nil
}

func openJobs(ctx context.Context, c postgres.Config, s *Stores) error {
	jobs, err := postgres.OpenJobs(ctx, c)
	if err != nil {
		return err
	}
	s.Jobs = jobs
	return nil
}

func (e database) Open(ctx context.Context) (s Stores, err error) {
	if s.presence, err = postgres.Appear(ctx, e.Database); err != nil {
		return s, unreached(err)
	}

	var cs complaint.List
	for _, open := range schemas {
		if err := open(ctx, s.presence.Config(), &s); err != nil {
			cs = append(cs, unreached(err))
			break // the others have the same to complain about
		}
	}
	if e.Lab != "" {
		cs = append(cs, openParts(&s, labPart(e.Lab)))
	}
	return s, cs.Err()
}

// unreached is a complaint about a database; nil for none.
func unreached(err error) error {
	if err == nil {
		return nil
	}
	if hint := HintOf(err); hint != "" {
		return complaint.New("data: "+err.Error(), hint)
	}
	return complaint.New("data: "+err.Error(), "look at the database and its log")
}

func (e database) OpenResources(ctx context.Context) (s Stores, err error) {
	if s.presence, err = postgres.Appear(ctx, e.Database); err != nil {
		return s, unreached(err)
	}
	return s, unreached(openResources(ctx, s.presence.Config(), &s))
}

func (e database) Probe(ctx context.Context) (running bool, err error) {
	var cs complaint.List
	running, err = postgres.Examine(ctx, e.Database)
	cs = append(cs, unreached(err))
	if e.Lab != "" {
		running = probe(&cs, labPart(e.Lab)) || running
	}
	return running, cs.Err()
}

// VerifyAudit verifies the record as it is at one moment: destinations may run.
func (e database) VerifyAudit(ctx context.Context, earlier trail.Checkpoint) (*trail.Report, error) {
	var s Stores
	reading := e.Database
	reading.OnlyReads = true
	if err := openResources(ctx, reading, &s); err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Resources.VerifyAudit(ctx, earlier)
}
