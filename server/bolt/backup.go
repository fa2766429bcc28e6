package bolt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs/disk"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/carry"
)

// Backup is the content of backup.json, beside the copies of both files.
type Backup struct {
	Version int          `json:"version"` // of this description
	Public  string       `json:"public"`  // the destination's public FHIR base URL
	Made    time.Time    `json:"made"`
	Files   []BackupFile `json:"files"`
	// Findings are what is wrong with the audit record that was copied, where it was
	// verified on the way.
	Findings []string `json:"-"`
}

// BackupFile is one copy.
type BackupFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
}

const (
	backupVersion = 1
	backupName    = "backup.json"
	maxBackupText = 64 << 10 // bytes of backup.json
	dirMode       = 0o700
)

// kept are the files of a data directory, in the order in which they are
// copied.
func kept() []keptFile {
	return []keptFile{{"trust.bolt", trustSchema()}, {"fhir.bolt", fhirSchema}}
}

// keysFile has the keys of ID tokens, if the destination makes them itself. A backup
// has it behind the others.
const keysFile = "id-token-keys.pem"

type keptFile struct {
	name   string
	schema Schema
}

// WriteBackup copies both files of a data directory into dir, checks the copies
// and then describes them in backup.json. It holds both files locked, so that
// the two copies belong together, and is refused with ErrInUse while a server
// runs. public is the base URL of the destination whose files they are.
func WriteBackup(data, dir, public string, now time.Time) (*Backup, error) {
	if err := roomForBackup(dir); err != nil {
		return nil, err
	}

	held, err := openAll(data, false)
	if err != nil {
		return nil, err
	}
	defer held.close() // nothing was written

	b := &Backup{
		Version: backupVersion,
		Public:  public,
		Made:    now.UTC().Truncate(time.Second),
	}

	for i, k := range kept() {
		path := filepath.Join(dir, k.name)
		f, err := copyOut(held[i], path)
		if err == nil {
			err = checkCopy(path, k.schema)
		}
		if err != nil {
			return nil, errors.Join(err, removeAll(dir))
		}

		f.Name = k.name
		b.Files = append(b.Files, f)
	}
	if err := copyKeys(data, dir, b); err != nil {
		return nil, errors.Join(err, removeAll(dir))
	}

	return b, writeDescription(filepath.Join(dir, backupName), b)
}

// copyKeys copies the keys of ID tokens, if there are any, and describes them.
func copyKeys(data, dir string, b *Backup) error {
	path := filepath.Join(dir, keysFile)
	err := copyFile(filepath.Join(data, keysFile), path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Error{
			Path:    path,
			Problem: "cannot be copied: " + err.Error(),
			Hint:    "the server's account must be able to read the keys; is there space on the disk?",
			Err:     err,
		}
	}
	return b.addKeys(dir)
}

// addKeys describes the copy of the keys, if there is one.
func (b *Backup) addKeys(dir string) error {
	path := filepath.Join(dir, keysFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := describe(path)
	f.Name = keysFile
	b.Files = append(b.Files, f)
	return err
}

// WriteBackupOf makes a backup of a destination that another engine keeps: Bolt files
// with its rows. They are read again and compared with what was copied before they are
// described in backup.json.
func WriteBackupOf(
	ctx context.Context, from carry.Source, dir, public string, now time.Time, p carry.Progress,
) (*Backup, error) {
	if err := roomForBackup(dir); err != nil {
		return nil, err
	}

	b, err := writeImage(ctx, from, dir, p)
	if err != nil {
		return nil, errors.Join(err, removeAll(dir))
	}
	b.Version = backupVersion
	b.Public = public
	b.Made = now.UTC().Truncate(time.Second)
	return b, writeDescription(filepath.Join(dir, backupName), b)
}

func writeImage(
	ctx context.Context, from carry.Source, dir string, p carry.Progress,
) (*Backup, error) {
	to, err := makeImage(dir)
	if err != nil {
		return nil, err
	}
	copied, err := carry.Copy(ctx, from, to, p)
	if err := errors.Join(err, to.close()); err != nil {
		return nil, err
	}

	made, err := OpenImage(dir)
	if err != nil {
		return nil, err
	}
	err = carry.Verify(ctx, made, copied, p)
	if err := errors.Join(err, made.Close()); err != nil {
		return nil, err
	}

	b := new(Backup)
	for _, k := range kept() {
		path := filepath.Join(dir, k.name)
		f, err := describe(path)
		if err == nil {
			err = checkCopy(path, k.schema)
		}
		if err != nil {
			return nil, err
		}
		f.Name = k.name
		b.Files = append(b.Files, f)
	}
	return b, b.addKeys(dir)
}

// OpenBackup checks a backup of the destination with this base URL, and opens it.
func OpenBackup(dir, public string) (*Image, error) {
	b, err := ReadBackup(dir)
	if err == nil {
		err = b.Fits(dir, public)
	}
	if err != nil {
		return nil, err
	}
	return OpenImage(dir)
}

// removeAll takes back the copies of a backup that failed.
func removeAll(dir string) (err error) {
	names := []string{keysFile}
	for _, k := range kept() {
		names = append(names, k.name)
	}
	for _, name := range names {
		if e := os.Remove(filepath.Join(dir, name)); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func roomForBackup(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return &Error{
			Path:    dir,
			Problem: "cannot be made: " + err.Error(),
			Hint:    "name a directory that this account can make",
			Err:     err,
		}
	}

	entries, err := os.ReadDir(dir)
	switch {
	case err != nil:
		return &Error{
			Path:    dir,
			Problem: "cannot be read: " + err.Error(),
			Err:     err,
		}

	case len(entries) > 0:
		return &Error{
			Path:    dir,
			Problem: "is not empty",
			Hint:    "name a new directory for each backup",
		}
	}

	return nil
}

// opened are files of a data directory, locked against every other process; a
// file that is not there, or too damaged to open, is nil.
type opened []*bbolt.DB

func (o opened) close() (err error) {
	for _, db := range o {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// openAll locks the files of a data directory, all or none. A file that is not there or
// cannot be read is an error, unless it is to be replaced.
func openAll(data string, replace bool) (opened, error) {
	var out opened
	for _, k := range kept() {
		path := filepath.Join(data, k.name)
		db, err := openThere(path)
		out = append(out, db)
		if err != nil && (!replace || errors.Is(err, ErrInUse) || errors.Is(err, fs.ErrPermission)) {
			return nil, errors.Join(err, out.close())
		}
	}

	return out, nil
}

// openThere opens a file that exists, for reading. That keeps every server out,
// and Bolt does not walk through a file's pages before they are checked.
func openThere(path string) (*bbolt.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, &Error{
			Path:    path,
			Problem: "cannot be opened: " + err.Error(),
			Hint:    "check data in the configuration",
			Err:     err,
		}
	}

	if err := checkUnused(path, defaultLockTimeout); err != nil {
		return nil, err
	}

	o := Options{}.bolt()
	o.ReadOnly = true
	db, err := bbolt.Open(path, fileMode, o)
	if err != nil {
		return nil, openError(path, err)
	}

	return db, nil
}

func copyOut(db *bbolt.DB, path string) (BackupFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return BackupFile{}, &Error{
			Path:    path,
			Problem: "cannot be made: " + err.Error(),
			Err:     err,
		}
	}

	sum, size := sha256.New(), int64(0)
	err = db.View(func(tx *bbolt.Tx) error {
		size, err = tx.WriteTo(io.MultiWriter(f, sum))
		return err
	})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return BackupFile{}, &Error{
			Path:    path,
			Problem: "cannot be written: " + err.Error(),
			Hint:    "is there space on the disk?",
			Err:     err,
		}
	}

	return BackupFile{
		Size:   size,
		SHA256: hex.EncodeToString(sum.Sum(nil)),
	}, nil
}

// writeDescription writes backup.json last and by rename: a copy without it is
// no backup.
func writeDescription(path string, b *Backup) error {
	text, err := json.Marshal(b, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}

	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}

	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(temporary, path)
	}
	return errors.Join(err, disk.SyncDir(filepath.Dir(path)))
}

// ReadBackup reads the description of a backup and checks every copy: its
// size and digest, its schema, and Bolt's own check of each page.
func ReadBackup(dir string) (*Backup, error) {
	b, err := readDescription(filepath.Join(dir, backupName))
	if err != nil {
		return nil, err
	}

	for i, k := range kept() {
		path := filepath.Join(dir, k.name)
		if err := checkDigest(path, b.Files[i]); err != nil {
			return nil, err
		}
		if err := checkCopy(path, k.schema); err != nil {
			return nil, err
		}
	}
	for _, keys := range b.Files[len(kept()):] {
		if err := checkDigest(filepath.Join(dir, keys.Name), keys); err != nil {
			return nil, err
		}
	}

	return b, nil
}

// Fits refuses the backup of another destination; dir is its directory.
func (b *Backup) Fits(dir, public string) error {
	if b.Public != public {
		return &Error{
			Path:    dir,
			Problem: "is a backup of " + b.Public + "; this destination is " + public,
			Hint:    "name a backup of this destination",
		}
	}
	return nil
}

func readDescription(path string) (*Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Error{
			Path:    path,
			Problem: "cannot be read: " + err.Error(),
			Hint:    "name the directory that `destination backup` wrote",
			Err:     err,
		}
	}
	defer f.Close()

	b := new(Backup)
	if err := json.UnmarshalRead(io.LimitReader(f, maxBackupText), b); err != nil {
		return nil, &Error{
			Path:    path,
			Problem: "is no description of a backup: " + err.Error(),
			Hint:    "take another backup",
			Err:     err,
		}
	}
	if b.Version != backupVersion {
		return nil, &Error{
			Path:    path,
			Problem: fmt.Sprintf("has version %d; this program knows version %d", b.Version, backupVersion),
			Hint:    "restore it with the version of the server that wrote it",
		}
	}

	names := []string{}
	for _, k := range kept() {
		names = append(names, k.name)
	}
	if len(b.Files) > len(names) {
		names = append(names, keysFile)
	}
	for i, name := range names {
		if len(b.Files) != len(names) || b.Files[i].Name != name {
			return nil, &Error{
				Path:    path,
				Problem: "does not list " + name + " in its place",
				Hint:    "take another backup",
			}
		}
	}

	return b, nil
}

// describe returns the size and digest of a copy.
func describe(path string) (d BackupFile, err error) {
	f, err := os.Open(path)
	if err == nil {
		sum := sha256.New()
		d.Size, err = io.Copy(sum, f)
		d.SHA256 = hex.EncodeToString(sum.Sum(nil))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		err = &Error{
			Path:    path,
			Problem: "cannot be read: " + err.Error(),
			Hint:    "take another backup",
			Err:     err,
		}
	}
	return d, err
}

func checkDigest(path string, want BackupFile) error {
	got, err := describe(path)
	switch {
	case err != nil:
		return err

	case got.Size != want.Size:
		return &Error{
			Path:    path,
			Problem: fmt.Sprintf("has %d bytes; the backup wrote %d", got.Size, want.Size),
			Hint:    "the copy was cut or grew: take another backup",
		}

	case got.SHA256 != want.SHA256:
		return &Error{
			Path:    path,
			Problem: "has SHA-256 " + got.SHA256 + "; the backup wrote " + want.SHA256,
			Hint:    "the copy was changed: take another backup",
		}
	}

	return nil
}

// checkCopy opens a copy for reading and has Bolt check every page of it.
func checkCopy(path string, schema Schema) error {
	db, err := openThere(path)
	if err != nil {
		return err
	}

	err = checkPages(db, path) // first: Bolt panics when it reads a damaged page elsewhere
	if err == nil {
		_, err = checkSchema(db, schema)
	}
	return errors.Join(err, db.Close())
}

// maxPageFaults bounds how many faults of one file are reported.
const maxPageFaults = 3

func checkPages(db *bbolt.DB, path string) error {
	var found []string
	err := db.View(func(tx *bbolt.Tx) error {
		for fault := range tx.Check() { // read to its end: the checker writes to it
			if len(found) < maxPageFaults {
				found = append(found, fault.Error())
			}
		}

		return nil
	})
	if err == nil && len(found) > 0 {
		err = errors.New(strings.Join(found, "; "))
	}
	if err != nil {
		return &Error{
			Path:    path,
			Problem: "is damaged: " + err.Error(),
			Hint:    "take another backup",
			Err:     err,
		}
	}

	return nil
}
