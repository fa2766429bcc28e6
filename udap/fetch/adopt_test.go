package fetch

import (
	"testing"
	"time"
)

// overtakenStore keeps, just after it has kept a list, a newer one of another process,
// of which its source learns at once.
type overtakenStore struct {
	MemoryStore
	newer  []byte // nil: no other process keeps any
	source *Source
}

func (o *overtakenStore) SaveCRL(key string, l StoredCRL) error {
	if err := o.MemoryStore.SaveCRL(key, l); err != nil || o.newer == nil {
		return err
	}

	l.DER, o.newer = o.newer, nil
	if err := o.MemoryStore.SaveCRL(key, l); err != nil {
		return err
	}
	o.source.adopt(key)
	return nil
}

// A list that was fetched does not take the place of a newer one that another process
// has kept meanwhile.
func TestFetchedListDoesNotReplaceOneAdoptedMeanwhile(t *testing.T) {
	c, ca := newClock(), signer(t, "A")
	store := &overtakenStore{}
	p := newListServer(t, bytesOf(ca.list(t, 4, epoch, time.Hour)))
	s := newSource(t, c, Config{
		Allow: []string{p.URL},
		Store: store,
	})
	store.source = s
	wantNumber(t, one(t, s, ca, p.URL+"/a"), 4)

	c.move(time.Minute)
	p.serve(bytesOf(ca.list(t, 5, c.now(), time.Hour)))
	store.newer = ca.list(t, 6, c.now(), time.Hour)
	s.Refresh(t.Context())
	wantNumber(t, one(t, s, ca, p.URL+"/a"), 6)
}
