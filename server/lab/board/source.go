package board

import (
	"cmp"
	"context"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/look"
)

// Lab is the lab whose sessions the pages show: a *lab.Service.
type Lab interface {
	Sessions() []lab.Session
	Session(id string) (lab.Session, error)
	Open(ctx context.Context, req lab.OpenRequest) (lab.Session, error)
	Exchanges(ctx context.Context, id string, from uint64, n int) ([]*lab.Kept, error)
	Watch(id string) (updates <-chan lab.Update, cancel func(), err error)
	Outcomes(ctx context.Context, id string) ([]conform.Outcome, error)
	SetFault(ctx context.Context, id string, names []string) error
	IssueClient(ctx context.Context, id string, req lab.ClientRequest) (*lab.Client, error)
	Issuers() []lab.Issuer
}

// entry is one exchange and what the pages show of its assessment.
type entry struct {
	*lab.Kept
	Tone look.Tone
	Step conform.Step
	Hint string // of a request that could not be attributed to a step
}

func newEntry(k *lab.Kept) entry {
	e := entry{
		Kept: k,
		Tone: tones[string(k.Assessment.Colour)],
		Step: cmp.Or(k.Assessment.Step, k.Exchange.Step),
	}
	if e.Tone == "" {
		e.Tone = look.None
	}

	for _, f := range k.Assessment.Findings {
		if f.Row == "" && e.Hint == "" {
			e.Hint = cmp.Or(f.Text, f.Remedy)
		}
	}

	return e
}

// tones are the tones of the colours of assessments.
var tones = map[string]look.Tone{
	"green": look.Good,
	"amber": look.Warn,
	"red":   look.Bad,
}
