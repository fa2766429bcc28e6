package search

import (
	"context"
	"fmt"
	"testing"
)

// :iterate that has not come to an end is reported (R4 search 3.1.1.5.4).
func TestIterateReportsWhereItStops(t *testing.T) {
	for _, links := range []int{1, maxRounds, maxRounds + 1, maxRounds + 5} {
		t.Run(fmt.Sprint(links), func(t *testing.T) {
			m := newMemory()
			for i := range links {
				m.add(t,
					fmt.Sprintf(`{"resourceType":"Organization","id":"o%d","partOf":{"reference":"Organization/o%d"}}`,
						i, i+1))
			}

			m.add(t, fmt.Sprintf(`{"resourceType":"Organization","id":"o%d"}`, links))
			m.settle()

			q, err := m.ps.Parse(context.Background(), []string{"Organization"},
				[]Pair{{"_include:iterate", "Organization:partof"}}, true)
			if err != nil {
				t.Fatal(err)
			}
			all := func(string) Filter { return Everything() }
			more, whole, err := NewFinder(context.Background(), m, all, all).Include(q, []uint64{1})
			if err != nil || len(more) != min(links, maxRounds) || whole != (links <= maxRounds) {
				t.Errorf("%d included, whole %v, %v", len(more), whole, err)
			}
		})
	}
}

// counting counts the stretches of the index that are read.
type counting struct {
	*memory
	scans int
}

func (c *counting) Scan(ctx context.Context, from, to []byte, f func([]byte, uint64) bool) error {
	c.scans++
	return c.memory.Scan(ctx, from, to, f)
}

// What the reader may not have is not looked for, and the same include twice is
// followed once.
func TestIncludesReadNoMoreThanNeeded(t *testing.T) {
	m := newMemory()
	m.add(t, `{"resourceType":"Observation","id":"b"}`)
	m.add(t, `{"resourceType":"AuditEvent","id":"a","entity":[{"what":{"reference":"Observation/b"}}]}`)
	m.settle()

	for _, row := range []struct {
		name     string
		filter   Filter
		includes int
		scans    int
		found    int
	}{
		{"nothing of the type", Filter{}, 20, 0, 0},
		{"once", Everything(), 1, 1, 1},
		{"twenty times", Everything(), 20, 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			q, err := m.ps.Parse(context.Background(), []string{"Observation"},
				repeat(row.includes, Pair{"_revinclude", "AuditEvent:entity"}), true)
			if err != nil {
				t.Fatal(err)
			}

			ix := &counting{memory: m}
			may := func(string) Filter { return row.filter }
			more, whole, err := NewFinder(context.Background(), ix, may, may).Include(q, []uint64{1})
			if err != nil || !whole || len(more) != row.found || ix.scans != row.scans {
				t.Errorf("%d included by %d scans, whole %v, %v", len(more), ix.scans, whole, err)
			}
		})
	}
}
