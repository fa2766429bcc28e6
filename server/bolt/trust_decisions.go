package bolt

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/audit"
)

var decisionsBucket = []byte("decisions")

// maxDecisions bounds how many decisions the file keeps, at some 7 kB each;
// the oldest go first.
const maxDecisions = 5_000

// SaveDecisions appends decisions in one transaction, shared with whatever
// else is being committed, and drops the oldest beyond the bound.
func (t *Trust) SaveDecisions(decisions []audit.Decision) error {
	bodies := make([][]byte, 0, len(decisions))
	for i := range decisions {
		d := &decisions[i]
		body, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("store: decision %s: %w", d.Trace.ID, err)
		}
		bodies = append(bodies, body)
	}

	return t.commits.Do(context.Background(), func(b *trustBatch) error {
		return appendDecisions(b.writable(decisionsBucket), bodies)
	})
}

// appendDecisions owns the bodies: their checksums are written behind them.
func appendDecisions(bucket *bbolt.Bucket, bodies [][]byte) error {
	bucket.FillPercent = 1 // keys only grow
	key := number(0)
	for _, body := range bodies {
		seq, err := bucket.NextSequence()
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint64(key, seq)
		if err := decisionRows.put(bucket, key, body); err != nil {
			return err
		}
	}

	if bucket.Sequence() <= maxDecisions {
		return nil
	}

	oldest := bucket.Sequence() - maxDecisions // the last one to go
	c := bucket.Cursor()
	for k, _ := c.First(); len(k) == 8 && binary.BigEndian.Uint64(k) <= oldest; k, _ = c.First() {
		if err := bucket.Delete(k); err != nil {
			return err
		}
	}

	return nil
}

// Decision looks for the decision whose trace has an id.
func (t *Trust) Decision(id string) (found audit.Decision, ok bool, err error) {
	err = t.eachDecision(func(d audit.Decision) bool {
		if d.Trace.ID == id {
			found = d
			ok = true
		}
		return !ok
	})
	return found, ok, err
}

// Decisions returns at most n decisions, newest first.
func (t *Trust) Decisions(n int) ([]audit.Decision, error) {
	var out []audit.Decision
	err := t.eachDecision(func(d audit.Decision) bool {
		if len(out) < n {
			out = append(out, d)
		}
		return len(out) < n
	})
	return out, err
}

// eachDecision visits decisions, newest first, until visit returns false. The
// operator alone asks, and the bucket is bounded, so there is no index.
func (t *Trust) eachDecision(visit func(audit.Decision) bool) error {
	return t.health.view(context.Background(), t.db, func(tx *bbolt.Tx) error {
		c := tx.Bucket(decisionsBucket).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			body, ok := decisionRows.open(k, v)
			if !ok {
				return t.damaged(decisionsBucket, k, "does not have its checksum")
			}

			var d audit.Decision
			if err := json.Unmarshal(body, &d); err != nil {
				return t.damaged(decisionsBucket, k, err.Error())
			}
			if !visit(d) {
				return nil
			}
		}

		return nil
	})
}
