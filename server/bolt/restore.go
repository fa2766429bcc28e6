package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/certs/disk"
	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/oauth/stored"
)

// Restore puts the copies of a backup in the place of a data directory's files
// and returns where those went. It is refused with ErrInUse while a server
// runs, and changes nothing before every copy is checked and belongs to the
// destination with this base URL.
//
// What the backup does not know must not come to life again: a jti that was
// used since, or a token that was revoked since. So the restored file refuses
// every JWT that could have been accepted up to now (ErrRestored), and holds no
// token: each client asks for a new one. Registrations are as they were when
// the backup was made. The records that are given are stored with it.
func Restore(
	data, dir, public string, now time.Time, records ...trail.Record,
) (replaced []string, err error) {
	b, err := ReadBackup(dir)
	if err != nil {
		return nil, err
	}
	if err := b.Fits(dir, public); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, dirMode); err != nil {
		return nil, &Error{
			Path:    data,
			Problem: "cannot be made: " + err.Error(),
			Err:     err,
		}
	}

	held, err := openAll(data, true)
	if err != nil {
		return nil, err
	}
	defer held.close() // nothing was written

	return replaceAll(data, dir, now, records)
}

// replaceAll makes both new files complete before it touches an old one.
func replaceAll(
	data, dir string, now time.Time, records []trail.Record,
) (replaced []string, err error) {
	for _, k := range kept() {
		temporary := filepath.Join(data, k.name+".restoring")
		defer os.Remove(temporary)
		if err := copyIn(filepath.Join(dir, k.name), temporary, k, now, records); err != nil {
			return nil, &Error{
				Path:    temporary,
				Problem: "cannot be written: " + err.Error(),
				Hint:    "is there space on the disk? nothing was changed",
				Err:     err,
			}
		}
	}

	stamp := ".replaced-" + now.UTC().Format("20060102T150405.000Z")
	for _, k := range slices.Backward(kept()) { // that with the record of the restore first
		path := filepath.Join(data, k.name)
		if err := os.Link(path, path+stamp); err == nil {
			replaced = slices.Insert(replaced, 0, path+stamp)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return replaced, &Error{
				Path:    path,
				Problem: "cannot be kept under another name: " + err.Error(),
				Hint:    "move it away yourself, and restore again",
				Err:     err,
			}
		}

		if err := os.Rename(path+".restoring", path); err != nil {
			return replaced, &Error{
				Path:    path,
				Problem: "cannot be replaced: " + err.Error(),
				Hint:    "restore again",
				Err:     err,
			}
		}
	}

	if err := putKeys(data, dir); err != nil {
		return replaced, err
	}
	return replaced, disk.SyncDir(data)
}

// putKeys restores the keys of ID tokens where there are none. Those that are there
// are as new as the backup's, or newer.
func putKeys(data, dir string) error {
	path := filepath.Join(data, keysFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	temporary := path + ".restoring"
	defer os.Remove(temporary)
	err := copyFile(filepath.Join(dir, keysFile), temporary)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.Rename(temporary, path))
}

func copyIn(from, to string, k keptFile, now time.Time, records []trail.Record) error {
	if err := copyFile(from, to); err != nil {
		return err
	}
	if k.schema.Kind == trustSchema().Kind {
		return markRestored(to, now)
	}
	return appendRecords(to, records)
}

// appendRecords appends records to those of a file of resources.
func appendRecords(path string, records []trail.Record) error {
	if len(records) == 0 {
		return nil
	}
	s, err := OpenFHIR(path, Options{NoFreelistSync: true})
	if err != nil {
		return err
	}
	err = s.Update(context.Background(), func(c fhir.Change) error {
		return c.Append(context.Background(), records)
	})
	return errors.Join(err, s.Close())
}

// notRestored are the buckets whose rows may have been revoked, withdrawn or ended
// since a backup was made.
var notRestored = [][]byte{
	tokensBucket, grantsBucket, subjectsBucket, grantExpiriesBucket, launchesBucket, sessionsBucket, consentsBucket}

// markRestored writes the moment of the restore into a trust file and drops
// what is not restored.
func markRestored(path string, now time.Time) error {
	db, err := bbolt.Open(path, fileMode, Options{NoFreelistSync: true}.bolt())
	if err != nil {
		return err
	}

	if err := migrate(db, trustSchema()); err != nil {
		return errors.Join(err, db.Close())
	}

	err = db.Update(func(tx *bbolt.Tx) error {
		var err error
		for _, name := range notRestored {
			gone := tx.DeleteBucket(name)
			_, made := tx.CreateBucket(name)
			err = errors.Join(err, gone, made)
		}

		meta, mark := tx.Bucket(metaBucket), restoredMark(now.Unix())
		before, ok := metaRows.get(meta, restoredKey)
		if ok && bytes.Compare(before, mark) >= 0 {
			return err // the backup itself was restored by a clock ahead of ours
		}

		return errors.Join(err, metaRows.put(meta, restoredKey, mark))
	})
	return errors.Join(err, db.Close())
}

// AcceptTime has the trust file of a stopped destination go on from now, after its
// clock was ahead and was set back. It returns up to when requests would have been
// refused; the zero time when there is nothing to accept, and then it changes
// nothing. It is refused with ErrInUse while a server runs.
//
// What was used before must not work again, and used jti are forgotten up to the
// time that the clock showed. So, as after a restore, every JWT is refused that
// could have been accepted up to now.
func AcceptTime(data string, now time.Time) (until time.Time, err error) {
	path := filepath.Join(data, "trust.bolt")
	db, err := openThere(path) // checks it, and makes no file
	if err != nil {
		return until, err
	}
	if err := db.Close(); err != nil {
		return until, err
	}
	if db, err = Open(path, trustSchema(), Options{NoFreelistSync: true}); err != nil {
		return until, err
	}

	err = db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(metaBucket)
		floor, ok1 := metaRows.get(meta, floorKey)
		restored, ok2 := metaRows.get(meta, restoredKey)
		if !ok1 || !ok2 {
			return &Error{
				Path:    path,
				Problem: "is damaged: what it knows of the time does not have its checksum",
				Hint:    "restore it from a backup (destination restore)",
			}
		}

		for _, t := range []time.Time{
			time.Unix(60*int64(floorOf(floor)), 0),
			time.Unix(restoredAt(restored), 0),
		} {
			if t.After(now) && t.After(until) {
				until = t.UTC()
			}
		}

		if until.IsZero() {
			return nil
		}

		return errors.Join(
			metaRows.put(meta, floorKey, binary.BigEndian.AppendUint32(nil, stored.Minute(now)-1)),
			metaRows.put(meta, restoredKey, restoredMark(now.Unix())))
	})
	return until, errors.Join(err, db.Close())
}
