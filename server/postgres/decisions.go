package postgres

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/audit"
)

// maxDecisions bounds how many decisions of one destination are kept, at some 7 kB
// each; the oldest go first.
const maxDecisions = 5_000

// SaveDecisions appends decisions in one transaction, shared with whatever else is
// being committed, and drops this destination's oldest beyond the bound.
func (t *Trust) SaveDecisions(decisions []audit.Decision) error {
	ids := make([][]byte, 0, len(decisions))
	bodies := make([][]byte, 0, len(decisions))
	for _, d := range decisions {
		body, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("store: decision %s: %w", d.Trace.ID, err)
		}
		ids = append(ids, []byte(d.Trace.ID))
		bodies = append(bodies, body)
	}

	return t.commits.Do(context.Background(), func(b *trustTx) error {
		b.put(`insert into decision (destination, id, body)
			select $1, u.id, u.body from unnest($2::bytea[], $3::bytea[]) with ordinality u (id, body, i)
			order by u.i`, t.name, ids, bodies)
		b.put(`delete from decision where destination = $1 and number <= (
			select number from decision where destination = $1
			order by number desc offset $2 limit 1)`, t.name, maxDecisions)
		return nil
	})
}

// Decision looks for the decision whose trace has an id, of whatever destination.
func (t *Trust) Decision(id string) (found audit.Decision, ok bool, err error) {
	d, err := readRow[audit.Decision](
		context.Background(),
		t,
		"decision",
		"select body from decision where id = $1 order by number desc limit 1",
		[]byte(id),
	)
	if d == nil {
		return found, false, err
	}
	return *d, true, nil
}

// Decisions returns at most n decisions of all destinations, newest first.
func (t *Trust) Decisions(n int) (all []audit.Decision, err error) {
	err = t.db.read(context.Background(), func(ctx context.Context) error {
		all = nil
		return t.db.eachRow(ctx, func(rows pgx.Rows) error {
			var id, body []byte
			if err := rows.Scan(&id, &body); err != nil {
				return err
			}
			d, err := parse[audit.Decision](t, "decision", id, body)
			if err == nil {
				all = append(all, *d)
			}
			return err
		}, "select id, body from decision order by number desc limit $1", n)
	})
	return all, err
}
