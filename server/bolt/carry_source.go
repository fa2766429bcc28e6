package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/carry"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/packed"
)

// Image is the files of a backup or of a stopped destination while their rows are
// read. It implements carry.Source.
type Image struct {
	trust     *Trust // only what reads rows
	resources *FHIR
	keys      string // path of the keys of ID tokens
	temporary string // directory of copies; "" for none
}

// OpenImage opens the files of a directory for reading. Files of an earlier layout are
// copied to a temporary directory and brought to the present one there.
func OpenImage(dir string) (*Image, error) {
	im := &Image{}
	var all []*bbolt.DB
	for _, k := range kept() {
		db, err := im.open(filepath.Join(dir, k.name), k)
		if err != nil {
			return nil, errors.Join(err, opened(all).close(), im.remove())
		}
		all = append(all, db)
	}

	im.keys = filepath.Join(dir, keysFile)
	im.trust = &Trust{
		db:     all[0],
		health: &health{},
	}
	im.resources = &FHIR{
		db:     all[1],
		health: &health{},
	}
	return im, nil
}

func (im *Image) open(path string, k keptFile) (*bbolt.DB, error) {
	db, err := openThere(path)
	if err != nil {
		return nil, err
	}
	version, err := checkSchema(db, k.schema)
	if err == nil && version == k.schema.Version {
		return db, nil
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, err
	}

	if im.temporary == "" {
		if im.temporary, err = os.MkdirTemp("", "destination"); err != nil {
			return nil, err
		}
	}
	present := filepath.Join(im.temporary, k.name)
	if err := copyFile(path, present); err != nil {
		return nil, err
	}
	return Open(present, k.schema, Options{NoFreelistSync: true})
}

// copyFile copies a file to one that is private to this account, and syncs it.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeFile(to, in)
}

func writeFile(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}

	_, err = io.Copy(f, content)
	return errors.Join(err, f.Sync(), f.Close())
}

// Close closes the files.
func (im *Image) Close() error {
	return errors.Join(im.trust.db.Close(), im.resources.db.Close(), im.remove())
}

func (im *Image) remove() error {
	if im.temporary == "" {
		return nil
	}
	return os.RemoveAll(im.temporary)
}

// bucketOf has the bucket whose rows are those of a kind; the settings of resources
// have others.
var bucketOf = map[carry.Kind][]byte{
	carry.Registrations: registrationsBucket,
	carry.UsedJTI:       spentBucket,
	carry.Lists:         listsBucket,
	carry.Decisions:     decisionsBucket,
	carry.Memberships:   membershipsBucket,
	carry.Resources:     []byte("docs"),
	carry.Versions:      []byte("versions"),
	carry.Changes:       []byte("log"),
	carry.Terms:         []byte("index"),
	carry.Blocks:        []byte("records"),
}

// Count implements carry.Source.
func (im *Image) Count(ctx context.Context, k carry.Kind) (n int64, err error) {
	db := im.resources.db
	if k < carry.ResourceSettings {
		db = im.trust.db
	}

	err = db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(bucketOf[k]); b != nil {
			n = int64(b.Stats().KeyN)
		}
		return nil
	})
	return n, err
}

// Each implements carry.Source.
func (im *Image) Each(ctx context.Context, k carry.Kind, f func(carry.Row) error) error {
	if k == carry.TrustSettings {
		if err := im.eachKeys(f); err != nil {
			return err
		}
	}
	if k < carry.ResourceSettings {
		return im.trust.health.view(ctx, im.trust.db, func(tx *bbolt.Tx) error {
			return trustRows{im.trust, tx}.each(k, f)
		})
	}
	return im.resources.view(ctx, func(s *state) error {
		return s.eachOf(k, f)
	})
}

// eachKeys passes f the keys of ID tokens, if there are any.
func (im *Image) eachKeys(f func(carry.Row) error) error {
	text, err := os.ReadFile(im.keys)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f(&carry.Setting{
		Name:  carry.IDTokenKeys,
		Value: text,
	})
}

// trustRows are the rows of trust.bolt in one state.
type trustRows struct {
	*Trust
	tx *bbolt.Tx
}

// each passes f each row of a kind.
func (t trustRows) each(k carry.Kind, f func(carry.Row) error) error {
	switch k {
	case carry.TrustSettings:
		return t.settings(f)
	case carry.Registrations:
		return t.eachRow(registrationRows, func(_, v []byte) error {
			r := &carry.Registration{Body: v}
			if err := json.Unmarshal(v, &r.Registration); err != nil {
				return t.damaged(registrationsBucket, nil, err.Error())
			}
			return f(r)
		})
	case carry.UsedJTI:
		return t.used(f)
	case carry.Lists:
		return t.eachRow(listRows, func(key, v []byte) error {
			if len(v) < 8 {
				return t.damaged(listsBucket, key, "is cut short")
			}
			return f(&carry.List{
				Key:     string(key),
				Fetched: time.Unix(int64(binary.BigEndian.Uint64(v)), 0).UTC(),
				DER:     v[8:],
			})
		})
	case carry.Decisions:
		return t.eachRow(decisionRows, func(key, v []byte) error {
			return f(&carry.Decision{
				Number: keyNumber(key),
				Body:   v,
			})
		})
	}
	return t.eachRow(membershipRows, func(key, v []byte) error {
		return f(&carry.Membership{
			Provider: string(key),
			Body:     v,
		})
	})
}

func (t trustRows) settings(f func(carry.Row) error) error {
	meta := t.tx.Bucket(metaBucket)
	for _, name := range [][]byte{floorKey, handleKey, restoredKey} {
		v, err := t.get(metaRows, meta, name, never)
		if err == nil && v != nil {
			err = f(&carry.Setting{
				Name:  string(name),
				Value: v,
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachRow passes f each row of a bucket that has no others in it, if there is one.
func (t trustRows) eachRow(r rows, f func(key, value []byte) error) error {
	b := t.tx.Bucket([]byte(r.name))
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, sealed []byte) error {
		v, ok := r.open(k, sealed)
		if !ok {
			return t.damaged([]byte(r.name), k, "does not have its checksum")
		}
		return f(k, v)
	})
}

func (t trustRows) used(f func(carry.Row) error) error {
	root := t.tx.Bucket(spentBucket)
	return eachMinute(root, spentRows, func(minute uint32, key uint64, v []byte, ok bool) error {
		if !ok || len(v) < spentRecord {
			return t.damaged(spentBucket, number(key), "is no used jti")
		}
		return f(&carry.Used{
			Minute:   minute,
			Number:   key,
			Key:      stored.JTI(v),
			Second:   binary.BigEndian.Uint32(v[stored.KeyLength:]),
			Endpoint: string(v[spentRecord:]),
		})
	})
}

// eachOf passes f each row of a kind.
func (s *state) eachOf(k carry.Kind, f func(carry.Row) error) error {
	switch k {
	case carry.ResourceSettings:
		return s.eachSetting(f)
	case carry.Resources:
		return s.in(docsTable).eachRow(func(k, v []byte) error {
			return s.eachVersion(s.in(docsTable), k, v, f)
		})
	case carry.Versions:
		return s.in(versionsTable).eachRow(func(k, v []byte) error {
			return s.eachVersion(s.in(versionsTable), k, v, f)
		})
	case carry.Changes:
		return s.eachChange(f)
	case carry.Terms:
		return s.in(indexTable).eachRow(func(k, _ []byte) error {
			n := len(k) - 9
			if n < 2 {
				return s.in(indexTable).unsound(k)
			}
			return f(&carry.Term{
				Term: k[:n],
				Doc:  binary.BigEndian.Uint64(k[n+1:]),
			})
		})
	case carry.Chains:
		return s.audit.eachChain(f)
	case carry.Joints:
		return s.audit.joint(f)
	}
	return s.audit.eachBlock(f)
}

// eachRow passes f each row of a table that has no others in it.
func (t *table) eachRow(f func(key, value []byte) error) error {
	return t.ForEach(func(k, sealed []byte) error {
		v, err := t.unseal(k, sealed)
		if err != nil {
			return err
		}
		return f(k, v)
	})
}

// ofAudit are the settings that belong to the audit records, and are made of them.
var ofAudit = [][]byte{tailKey, headKey, anchorKey, forgottenKey, joinedKey, newestKey}

func (s *state) eachSetting(f func(carry.Row) error) error {
	for name, n := range map[string]uint64{
		carry.LastChange: s.in(logTable).Sequence(),
		carry.LastNumber: s.in(docsTable).Sequence(),
	} {
		if err := f(&carry.Setting{
			Name:  name,
			Value: number(n),
		}); err != nil {
			return err
		}
	}

	return s.in(settingsTable).eachRow(func(k, v []byte) error {
		if bytes.HasPrefix(k, chainPrefix) {
			return nil
		}
		for _, name := range ofAudit {
			if bytes.Equal(k, name) {
				return nil
			}
		}
		return f(&carry.Setting{
			Name:  string(k),
			Value: v,
		})
	})
}

// eachVersion passes f a row of "docs" or "versions".
func (s *state) eachVersion(t *table, k, v []byte, f func(carry.Row) error) error {
	if len(k) < 8 {
		return t.damaged(k, "is no number of a resource")
	}
	e, ok := decodeEntry(binary.BigEndian.Uint64(k), v)
	if !ok {
		return t.damaged(k, "is no version of a resource")
	}
	return f(&carry.Version{Entry: e})
}

func (s *state) eachChange(f func(carry.Row) error) error {
	logs := s.in(logTable)
	return logs.ForEachBucket(func(name []byte) error {
		log := table{logs.within(name), logs.Bucket.Bucket(name), s}
		return log.eachRow(func(k, v []byte) error {
			if len(k) != 8 || len(v) != 16 && len(v) != 24 {
				return log.damaged(k, "is no change")
			}

			c := &carry.Change{
				Type:    string(name),
				Seq:     binary.BigEndian.Uint64(k),
				Doc:     binary.BigEndian.Uint64(v),
				Version: binary.BigEndian.Uint64(v[8:]),
			}
			if len(v) == 24 {
				c.Records = binary.BigEndian.Uint64(v[16:])
			}
			return f(c)
		})
	})
}

func (s *auditLog) eachChain(f func(carry.Row) error) error {
	extent, err := s.Extent(context.Background())
	if err != nil {
		return err
	}
	for _, c := range extent.Chains {
		if c.Head.Sequence == 0 {
			continue // it has had no records yet
		}
		if err := f(&carry.Chain{Chain: c}); err != nil {
			return err
		}
	}
	return nil
}

func (s *auditLog) joint(f func(carry.Row) error) error {
	extent, err := s.Extent(context.Background())
	if err != nil {
		return err
	}
	return f(&carry.Joint{
		Joined: extent.Joined,
		Newest: extent.Newest,
	})
}

// eachBlock reads the log of changes beside the blocks: it has a row for each.
func (s *auditLog) eachBlock(f func(carry.Row) error) error {
	records := s.in(recordsTable)
	heads, err := s.heads("AuditEvent", 0)
	if err != nil {
		return err
	}
	if first, _ := records.Cursor().First(); len(heads) == 0 && first != nil {
		return records.damaged(first, "is not listed in the log of changes")
	}
	if len(heads) == 0 {
		return nil
	}

	changes := heads[0]
	at, logged := changes.cursor.First()
	return records.eachRow(func(k, v []byte) error {
		b, ok := packed.Decode(k, v)
		if !ok {
			return records.damaged(k, noBlock)
		}
		if err := changes.set(at, logged); err != nil {
			return err
		}
		if changes.doc-changes.more != b.First {
			return records.damaged(k, "is not listed in the log of changes")
		}

		row := &carry.Block{
			Block:  *b,
			Change: changes.seq - changes.more,
		}
		at, logged = changes.cursor.Next()
		return f(row)
	})
}

var _ carry.Source = (*Image)(nil)
