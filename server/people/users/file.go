package users

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxFile bounds a users file in bytes.
const maxFile = 64 << 20

// Read reads a users file.
func Read(path string) (*Directory, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}

	d, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// Write replaces a users file, by rename: whoever reads it sees the former or the
// new content. Only its owner may read it.
func Write(path string, all []User) error {
	text, err := Format(all)
	if err != nil {
		return err
	}

	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone already after the rename

	_, err = temporary.Write(text)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// Add adds a user to a file, which is made when there is none. A user without a
// subject gets one.
func Add(path string, u User) error {
	all, err := existing(path)
	if err != nil {
		return err
	}

	if u.Subject == "" {
		u.Subject = rand.Text()
	}
	return Write(path, append(all, u))
}

// Remove removes a user from a file.
func Remove(path, username string) error {
	d, err := Read(path)
	if err != nil {
		return err
	}

	gone := d.Named(username)
	if gone == nil {
		return fmt.Errorf(
			"%s: there is no user %q",
			path,
			username,
		)
	}

	var rest []User
	for _, u := range d.all {
		if u.Subject != gone.Subject {
			rest = append(rest, u)
		}
	}

	return Write(path, rest)
}

func existing(path string) ([]User, error) {
	d, err := Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return d.All(), nil
}
