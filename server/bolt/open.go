package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/certs/disk"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Schema describes a kind of file and what a new one must hold.
type Schema struct {
	Kind    string   // "trust" or "fhir"; a file of another kind is refused
	Version uint64   // of the layout; a file of a later version is refused
	Buckets []string // top-level buckets that every file of this kind has
	// Steps bring a file of an earlier layout to the next one: the step under
	// n makes layout n+1 of layout n. A file of a layout without a step is
	// refused. A step may use several transactions, and is begun again when the
	// program ended before it was done.
	Steps map[uint64]func(*bbolt.DB) error
}

// Options of an open file. The zero value is right for a server.
type Options struct {
	LockTimeout    time.Duration // how long to wait for another process to let go; 0 means 1 s
	MmapSize       int           // bytes of address space to map at once; 0 means 4 GiB
	NoFreelistSync bool          // do not write the list of free pages at each commit; it is made at start
	NoSync         bool          // benchmarks only: a commit is not durable
	MaxBatch       int           // effects that may share a commit of trust.bolt; 0 means 2048, 1 is for benchmarks

	commit func(*bbolt.Tx) error // tests only: in the place of Tx.Commit
}

const (
	defaultLockTimeout = time.Second
	// A file that outgrows its mapping must be mapped anew, and that waits for
	// every reader and holds up every writer. Address space
	// costs nothing until it is used.
	defaultMmapSize = 1 << (30 + 2*(^uint(0)>>63)) // 4 GiB; 1 GiB where an int has 32 bits
	fileMode        = 0o600                        // registrations and health data are for the server's account alone
)

// Error is why a file cannot be opened, with what to do about it.
type Error struct {
	Path    string
	Problem string
	Hint    string
	Err     error // cause; may be nil
}

func (e *Error) Error() string {
	return "store " + e.Path + ": " + e.Problem
}

func (e *Error) Unwrap() error { return e.Err }

// ErrInUse is the cause of an Error when another process has the file open.
var ErrInUse = errors.New("the file is in use")

var (
	metaBucket = []byte("meta")
	kindKey    = []byte("kind")
	versionKey = []byte("version")
)

// Open opens a file of the given kind and makes it when there is none. A new
// file gets its schema under a temporary name and appears under its own only
// when it is on disk, so that a power cut leaves either none or a good one.
func Open(path string, schema Schema, o Options) (*bbolt.DB, error) {
	if err := createMissing(path, schema, o); err != nil {
		return nil, err
	}

	before, err := os.Stat(path)
	if err != nil {
		return nil, openError(path, err)
	}
	if err := prepareUnused(path, o.lockTimeout()); err != nil {
		return nil, err
	}

	db, err := bbolt.Open(path, fileMode, o.bolt())
	if err != nil {
		return nil, openError(path, err)
	}

	// Bolt waits for the lock after it has opened the file: a restore may have
	// put another one in its place meanwhile.
	if now, err := os.Stat(path); err != nil || !os.SameFile(before, now) {
		return nil, errors.Join(&Error{
			Path:    path,
			Problem: "was replaced while it was opened",
			Hint:    "start again",
		}, db.Close())
	}
	if err := migrate(db, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}

	return db, nil
}

// checkUnused checks the pages of a file while nobody else has it open. A file
// that is in use is left to bbolt.Open, which reports that.
func checkUnused(path string, timeout time.Duration) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close() // gives the lock back

	if !lockWithin(f, timeout, disk.TryShare) {
		return nil
	}

	_, err = checkFile(f, path)
	return err
}

// prepareUnused does as checkUnused does, and stores the list of free pages of a file
// that has none: that of a program that ended without closing it.
func prepareUnused(path string, timeout time.Duration) error {
	f, err := os.OpenFile(path, os.O_RDWR, fileMode)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close() // gives the lock back

	if !lockWithin(f, timeout, disk.TryLock) {
		return nil
	}

	w, err := checkFile(f, path)
	if err != nil {
		return err
	}
	if err := w.storeFreePages(f); err != nil {
		return openError(path, err)
	}

	return nil
}

// lockWithin waits for a lock, and reports whether it has it.
func lockWithin(f *os.File, timeout time.Duration, try func(*os.File) error) bool {
	const pause = 10 * time.Millisecond
	for waited := time.Duration(0); try(f) != nil; waited += pause {
		if waited >= timeout {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

func (o Options) lockTimeout() time.Duration {
	if o.LockTimeout == 0 {
		return defaultLockTimeout
	}
	return o.LockTimeout
}

func (o Options) bolt() *bbolt.Options {
	b := *bbolt.DefaultOptions
	b.FreelistType = bbolt.FreelistMapType
	b.NoFreelistSync = o.NoFreelistSync
	b.NoSync = o.NoSync
	b.Timeout = o.lockTimeout()

	b.InitialMmapSize = o.MmapSize
	if b.InitialMmapSize == 0 {
		b.InitialMmapSize = defaultMmapSize
	}
	return &b
}

func openError(path string, err error) error {
	e := &Error{
		Path:    path,
		Problem: "cannot be opened: " + err.Error(),
		Err:     err,
	}
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		e.Problem = "another process has this file open"
		e.Hint = "stop the other destination, or give this one a data directory of its own"
		e.Err = fmt.Errorf("%w: %w", ErrInUse, err)
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "the file and its directory must be writable for the account that runs the server"
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err,
		bolterrors.ErrVersionMismatch):
		e.Hint = "this is no file of ours or it is damaged: restore it from a backup, or move it away to start anew"
	}

	return e
}

// createMissing makes the file if there is none. Of two processes that start
// together only one can link its file to the name; the other goes on with it.
func createMissing(path string, schema Schema, o Options) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return openError(path, err)
	}

	temporary, err := reserveTemporary(path)
	if err != nil {
		return &Error{
			Path:    path,
			Problem: "cannot be made: " + err.Error(),
			Hint:    "make the data directory, writable for the server's account",
			Err:     err,
		}
	}
	defer os.Remove(temporary)

	if err := writeSchema(temporary, schema, o); err != nil {
		return &Error{
			Path:    path,
			Problem: "cannot be made: " + err.Error(),
			Err:     err,
		}
	}

	if err := os.Link(temporary, path); err != nil && !errors.Is(err, fs.ErrExist) {
		if err := os.Rename(temporary, path); err != nil { // a file system without hard links
			return &Error{
				Path:    path,
				Problem: "cannot be made: " + err.Error(),
				Err:     err,
			}
		}
	}

	return disk.SyncDir(filepath.Dir(path))
}

func reserveTemporary(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func writeSchema(path string, schema Schema, o Options) error {
	db, err := bbolt.Open(path, fileMode, o.bolt())
	if err != nil {
		return err
	}

	err = db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}

		for _, name := range schema.Buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}

		return errors.Join(
			meta.Put(versionKey, binary.BigEndian.AppendUint64(nil, schema.Version)),
			meta.Put(kindKey, []byte(schema.Kind)))
	})
	return errors.Join(err, db.Sync(), db.Close())
}

// checkSchema refuses a file of another kind, of a later layout, or of an
// earlier one that no step leads on from.
func checkSchema(db *bbolt.DB, schema Schema) (version uint64, err error) {
	err = db.View(func(tx *bbolt.Tx) error {
		version, err = schemaOf(tx, schema)
		return err
	})
	return version, err
}

func schemaOf(tx *bbolt.Tx, schema Schema) (uint64, error) {
	path := tx.DB().Path()
	meta := tx.Bucket(metaBucket)
	if meta == nil || string(meta.Get(kindKey)) != schema.Kind {
		return 0, &Error{
			Path:    path,
			Problem: fmt.Sprintf("is a Bolt file, but no %s file of this server", schema.Kind),
			Hint:    "check the path in the configuration",
		}
	}

	v := meta.Get(versionKey)
	if len(v) != 8 {
		return 0, &Error{
			Path:    path,
			Problem: fmt.Sprintf("has layout %x, which is no number", v),
			Hint:    "restore it from a backup",
		}
	}

	version := binary.BigEndian.Uint64(v)
	for at := version; at != schema.Version; at++ {
		if at > schema.Version || schema.Steps[at] == nil {
			return 0, &Error{
				Path:    path,
				Problem: fmt.Sprintf("has layout %d; this program knows layout %d", version, schema.Version),
				Hint:    "run the version of the server that wrote it",
			}
		}
	}

	for _, name := range schema.Buckets {
		if tx.Bucket([]byte(name)) == nil && version == schema.Version {
			return 0, &Error{
				Path:    path,
				Problem: fmt.Sprintf("has no bucket %q", name),
				Hint:    "restore it from a backup",
			}
		}
	}

	return version, nil
}

// migrate brings a file to the present layout, one step after the other.
func migrate(db *bbolt.DB, schema Schema) error {
	version, err := checkSchema(db, schema)
	if err != nil {
		return err
	}

	for ; version < schema.Version; version++ {
		err := schema.Steps[version](db)
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket(metaBucket).Put(
					versionKey,
					binary.BigEndian.AppendUint64(nil, version+1),
				)
			})
		}

		if err != nil {
			return &Error{
				Path:    db.Path(),
				Problem: fmt.Sprintf("cannot be brought from layout %d to %d: %v", version, version+1, err),
				Hint:    "is there space on the disk? start again to go on",
				Err:     err,
			}
		}
	}

	return nil
}
