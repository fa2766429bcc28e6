package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fhirdest.example/certs/disk"
)

// Modes of the files that this project writes.
const (
	ModeSecret fs.FileMode = 0o600 // keys, PKCS#12, databases
	ModePublic fs.FileMode = 0o644 // certificates, lists
)

// WriteFile puts data in place whole or not at all: a new file of exactly this
// mode beside the target (whatever the umask; a planted symlink is replaced, not
// followed), synced, renamed over it, and the directory synced.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp") // 0600, O_EXCL
	if err != nil {
		return err
	}

	err = errors.Join(fill(f, data, mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}

	return disk.SyncDir(dir)
}

func fill(f *os.File, data []byte, mode fs.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

// WriteCertificates writes certificates as a public PEM file.
func WriteCertificates(path string, chain ...*x509.Certificate) error {
	return WriteFile(path, CertificatesPEM(chain...), ModePublic)
}

// WriteIdentity writes a chain and its key as two PEM files, the key first, so
// that a chain in place always has its key.
func WriteIdentity(chainFile, keyFile string, id *Identity) error {
	key, err := KeyPEM(id.Key)
	if err != nil {
		return err
	}
	if err := WriteFile(keyFile, key, ModeSecret); err != nil {
		return err
	}
	return WriteCertificates(chainFile, id.Chain...)
}

// ExposedKey reports in one line how a file with a private key, or the file that a
// symlink leads to, can be read or written by others than its owner; it is
// empty when it cannot, and on Windows, whose access lists are not read. The
// caller decides whether that is a warning or a refusal.
func ExposedKey(path string) string {
	st, err := os.Stat(path)
	if err != nil || disk.Shared(path) == 0 {
		return ""
	}
	return fmt.Sprintf("%s holds a private key and others may read it (mode %04o); chmod 600 %s", path,
		st.Mode().Perm(), path)
}
