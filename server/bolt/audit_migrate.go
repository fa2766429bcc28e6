package bolt

import (
	"errors"

	"go.etcd.io/bbolt"

	"fhirdest.example/server/packed"
)

// chunk5 is how many records one transaction of chainRecords writes.
const chunk5 = tailRecords

// chainRecords is the migration from layout 5, whose records were no chain. It makes
// the chain in transactions of bounded length: the head of the chain is how far it
// has got. The index of the records is made anew with it.
func chainRecords(db *bbolt.DB) error {
	for more := true; more; {
		err := db.Update(func(tx *bbolt.Tx) (err error) {
			s := (&FHIR{health: &health{}}).newState(tx)
			more, err = s.audit.chainSome(chunk5)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// chainSome rewrites the next blocks of layout 5; more is false after the last.
func (s *auditLog) chainSome(most int) (more bool, err error) {
	head, err := s.place(headKey)
	if err != nil {
		return false, err
	}
	if head.Sequence == 0 {
		if err := s.dropRecordIndex(); err != nil {
			return false, err
		}
	}

	t := s.in(recordsTable)
	c := t.Cursor()
	var blocks []*packed.Block
	n := 0
	k, v := c.Seek(number(head.Doc + 1))
	for ; k != nil && n < most; k, v = c.Next() {
		v, err := t.unseal(k, v)
		if err != nil {
			return false, err
		}
		b, ok := packed.Decode5(k, v)
		if !ok {
			return false, t.damaged(k, noBlock)
		}
		blocks = append(blocks, b)
		n += len(b.Links)
	}
	if n == 0 {
		return false, nil
	}

	for _, b := range blocks {
		b.Sequence = head.Sequence + 1
		for i := range b.Links {
			b.Links[i].Previous = head.Hash
			head = head.Next(b.First+uint64(i), b.Links[i].Packed)
		}
		err = errors.Join(err, t.put(number(b.First), b.Encode()))
	}
	t5, failed := s.tail()
	err = errors.Join(err, failed, s.putPlace(headKey, head))
	if err == nil {
		err = s.indexTail(t5, head.Doc)
	}
	return k != nil, err
}

// dropRecordIndex empties the index of the records.
func (s *auditLog) dropRecordIndex() error {
	name := []byte(tableRows[segmentsTable].name)
	if err := s.tx.DeleteBucket(name); err != nil {
		return err
	}
	if _, err := s.tx.CreateBucket(name); err != nil {
		return err
	}
	return s.putTail(tail{})
}
