package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/server/carry"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
)

// maxCarried bounds the rows that one transaction of a newImage writes, and
// maxCarriedBytes their length.
const (
	maxCarried      = 16 << 10
	maxCarriedBytes = 16 << 20
)

// newImage is the files of a backup while they are made row by row. It implements
// carry.Sink. Nothing is durable before close.
type newImage struct {
	dir   string
	files [2]*bbolt.DB // as in kept

	// The transaction under way.
	of    *bbolt.DB
	tx    *bbolt.Tx
	batch *trustBatch // of trust
	state *state      // of resources
	rows  int
	bytes int

	newest uint64 // number of the newest change that was put
}

func makeImage(dir string) (*newImage, error) {
	im := &newImage{dir: dir}
	for i, k := range kept() {
		db, err := Open(filepath.Join(dir, k.name), k.schema, Options{
			NoFreelistSync: true,
			NoSync:         true,
		})
		if err != nil {
			return nil, errors.Join(err, im.close())
		}
		im.files[i] = db
	}
	return im, nil
}

// close makes the files durable.
func (im *newImage) close() (err error) {
	if im.tx != nil {
		err = im.tx.Rollback() // it was given up
		im.tx = nil
	}
	for _, db := range im.files {
		if db != nil {
			err = errors.Join(err, db.Sync(), db.Close())
		}
	}
	return err
}

// begin has a transaction of the file that has a kind under way.
func (im *newImage) begin(k carry.Kind) (err error) {
	db := im.files[1]
	if k < carry.ResourceSettings {
		db = im.files[0]
	}
	if im.tx != nil && im.of == db && im.rows < maxCarried && im.bytes < maxCarriedBytes {
		return nil
	}

	if err := im.commit(); err != nil {
		return err
	}
	if im.tx, err = db.Begin(true); err != nil {
		return err
	}

	im.of = db
	im.rows = 0
	im.bytes = 0
	if k < carry.ResourceSettings {
		im.batch = newTrustBatch(im.tx)
	} else {
		im.state = (&FHIR{health: &health{}}).newState(im.tx)
	}
	return nil
}

func (im *newImage) commit() error {
	if im.tx == nil {
		return nil
	}
	tx := im.tx
	im.tx = nil
	return tx.Commit()
}

// Put implements carry.Sink.
func (im *newImage) Put(_ context.Context, k carry.Kind, r carry.Row) error {
	if err := im.begin(k); err != nil {
		return err
	}
	im.rows++

	switch r := r.(type) {
	case *carry.Setting:
		return im.setting(k, r)
	case *carry.Registration:
		return im.registration(r)
	case *carry.Used:
		return im.used(r)
	case *carry.List:
		im.bytes += len(r.DER)
		return listRows.put(im.tx.Bucket(listsBucket), []byte(r.Key), listOf(r.Fetched, r.DER))
	case *carry.Decision:
		return im.decision(r)
	case *carry.Membership:
		b, err := im.tx.CreateBucketIfNotExists(membershipsBucket)
		if err != nil {
			return err
		}
		return membershipRows.put(b, []byte(r.Provider), bytes.Clone(r.Body))
	case *carry.Version:
		return im.version(k, r)
	case *carry.Change:
		return im.change(r)
	case *carry.Term:
		return im.term(r)
	case *carry.Chain:
		return im.chain(r)
	case *carry.Joint:
		audit := &im.state.audit
		return errors.Join(audit.putHash(joinedKey, r.Joined), audit.putHash(newestKey, r.Newest))
	case *carry.Block:
		return im.block(r)
	}
	return fmt.Errorf("no file has rows such as %T", r)
}

// End implements carry.Sink.
func (im *newImage) End(context.Context, carry.Kind) error {
	return im.commit()
}

func (im *newImage) setting(k carry.Kind, r *carry.Setting) error {
	if k == carry.TrustSettings && r.Name == carry.IDTokenKeys {
		return writeFile(filepath.Join(im.dir, keysFile), bytes.NewReader(r.Value))
	}
	if k == carry.TrustSettings {
		return metaRows.put(im.tx.Bucket(metaBucket), []byte(r.Name), bytes.Clone(r.Value))
	}

	switch r.Name {
	case carry.LastNumber:
		return im.state.in(docsTable).SetSequence(keyNumber(r.Value))
	case carry.LastChange:
		return im.state.in(logTable).SetSequence(keyNumber(r.Value))
	}
	return im.state.in(settingsTable).put([]byte(r.Name), bytes.Clone(r.Value))
}

func (im *newImage) registration(r *carry.Registration) error {
	key := registrationKey(r.Community, r.Client)
	im.bytes += len(r.Body)
	return errors.Join(
		putExpiry(im.tx, key, &r.Registration),
		registrationRows.put(im.tx.Bucket(registrationsBucket), key, bytes.Clone(r.Body)),
		clientRows.put(im.tx.Bucket(clientsBucket), []byte(r.ID), bytes.Clone(key)),
	)
}

func (im *newImage) used(u *carry.Used) error {
	m, err := im.batch.minute(spentRows, u.Minute)
	if err != nil {
		return err
	}
	return m.rows.put(m.Bucket, number(u.Number), spentOf(u))
}

// spentOf is the record of a used jti.
func spentOf(u *carry.Used) []byte {
	return spentRow(stored.JTI(u.Key), oauth.Spend{
		Now:      time.Unix(int64(u.Second), 0),
		Endpoint: u.Endpoint,
	})
}

func (im *newImage) decision(d *carry.Decision) error {
	b := im.tx.Bucket(decisionsBucket)
	im.bytes += len(d.Body)
	return errors.Join(
		b.SetSequence(d.Number),
		decisionRows.put(b, number(d.Number), bytes.Clone(d.Body)),
	)
}

func (im *newImage) version(k carry.Kind, v *carry.Version) error {
	s := im.state
	im.bytes += len(v.Body) + len(v.Terms)
	if k == carry.Versions {
		t := s.in(versionsTable)
		t.FillPercent = 0.9 // keys come in sequence
		return t.put(binary.BigEndian.AppendUint64(number(v.Doc), v.Version), encodeEntry(v.Entry))
	}

	t := s.in(docsTable)
	t.FillPercent = 0.9
	return errors.Join(
		t.put(number(v.Doc), encodeEntry(v.Entry)),
		s.in(idsTable).put(idKey(v.Type, v.ID), number(v.Doc)),
	)
}

func (im *newImage) change(c *carry.Change) error {
	t, err := im.state.logOf(c.Type)
	if err != nil {
		return err
	}

	im.newest = max(im.newest, c.Seq+max(c.Records, 1)-1)
	row := binary.BigEndian.AppendUint64(number(c.Doc), c.Version)
	if c.Records > 0 {
		row = binary.BigEndian.AppendUint64(row, c.Records)
	}
	return t.put(number(c.Seq), row)
}

func (im *newImage) term(t *carry.Term) error {
	index := im.state.in(indexTable)
	index.FillPercent = 0.9
	return index.put(appendIndexKey(nil, t.Term, t.Doc), nil)
}

// chain comes behind the changes, so that what was forgotten of them is known.
func (im *newImage) chain(c *carry.Chain) error {
	s := &im.state.audit
	err := s.putChain(c.Chain)
	if last := s.in(logTable).Sequence(); last > im.newest {
		err = errors.Join(err, s.in(settingsTable).put(forgottenKey, number(last)))
	}
	return err
}

func (im *newImage) block(b *carry.Block) error {
	s := &im.state.audit
	body := b.Encode()
	im.bytes += len(body)
	rows := s.in(recordsTable)
	rows.FillPercent = 0.9
	return errors.Join(
		rows.put(number(b.First), body),
		s.lengthenTail(uint64(len(b.Links))),
	)
}
