package server

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/server/oauth/idtoken"
	"fhirdest.example/server/postgres"
)

// idTokens keeps the keys of ID tokens. A file in the data directory is ours: it is
// made when it is absent, and gets a new key in time. So are keys in a database, which
// are those of all destinations on it. A file that is configured is the operator's.
type idTokens struct {
	site *Site
	path string
	ours bool
}

// sharedIDTokenKeys is the name of our keys in a shared store.
const sharedIDTokenKeys = "id-token-keys"

// rotateEvery is how often our keys are looked at. They change every few months, and
// a new one is published for a day before it signs, so that all destinations that
// share the keys have it by then.
const rotateEvery = time.Hour

// ownIDTokenKeys is the name of our file in the data directory.
const ownIDTokenKeys = "id-token-keys.pem"

// idTokenKeys returns the name of the file of the keys of ID tokens, as a
// configuration has names.
func (c Config) idTokenKeys() string {
	return cmp.Or(c.IDTokenKeys, filepath.Join(c.Data, ownIDTokenKeys))
}

// IDTokenKeysFile returns the path of the file of the keys of ID tokens.
func (c Config) IDTokenKeysFile() string { return c.file(c.idTokenKeys()) }

func newIDTokens(s *Site, cfg Config) idTokens {
	return idTokens{
		site: s,
		path: cfg.IDTokenKeysFile(),
		ours: cfg.IDTokenKeys == "",
	}
}

// checkIDTokenKeys reads the file of the keys, which may be absent if it is ours.
func (l *loader) checkIDTokenKeys() {
	name := l.cfg.idTokenKeys()
	if l.cfg.IDTokenKeys == "" && !exists(l.cfg.file(name)) || !l.private("idTokenKeys", name) {
		return
	}

	text, err := os.ReadFile(l.cfg.file(name))
	if err == nil {
		_, err = idtoken.ParseKeys(text)
	}
	if err != nil {
		l.unreadable("idTokenKeys", name, err,
			"openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 makes one; leave idTokenKeys out for keys "+
				"that the destination makes and replaces itself")
	}
}

// load reads the keys, and makes and replaces ours where that is due.
func (f idTokens) load() (idtoken.Keys, error) {
	if s, ok := f.site.stores.Trust.(interface{ Shared() postgres.Shared }); ok && f.ours {
		keys, err := f.loadShared(context.Background(), s.Shared())
		if err != nil {
			return nil, fmt.Errorf("the keys of ID tokens: %w", err)
		}
		return keys, nil
	}

	text, err := os.ReadFile(f.path)
	var keys idtoken.Keys
	switch {
	case err == nil:
		keys, err = idtoken.ParseKeys(text)
	case f.ours && errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("idTokenKeys: %s: %w", f.path, err)
	}
	if !f.ours {
		return keys, nil
	}

	next, changed, err := keys.Rotated(f.site.deps.Now())
	if err == nil && changed {
		err = f.write(next)
	}
	if err != nil {
		return nil, fmt.Errorf("idTokenKeys: %s: %w", f.path, err)
	}
	return next, nil
}

// loadShared reads the keys that all destinations have, and makes and replaces them
// where that is due. Where two do so at once, the first has made them for both. Whoever
// may read the database can sign ID tokens, as whoever may read the file.
func (f idTokens) loadShared(ctx context.Context, s postgres.Shared) (idtoken.Keys, error) {
	text, err := s.Value(ctx, sharedIDTokenKeys)
	for err == nil {
		var keys idtoken.Keys
		if text != nil {
			if keys, err = idtoken.ParseKeys(text); err != nil {
				break
			}
		}

		next, changed, err := keys.Rotated(f.site.deps.Now())
		if err != nil || !changed {
			return next, err
		}
		made, err := next.Encode()
		if err != nil {
			return nil, err
		}

		now, err := s.Swap(ctx, sharedIDTokenKeys, text, made)
		if err != nil {
			return nil, err
		}
		if bytes.Equal(now, made) {
			f.site.deps.Log.Info("keys of ID tokens were made", "keys", len(next))
			return next, nil
		}
		text = now
	}
	return nil, err
}

// write replaces the file by rename. Only its owner may read it.
func (f idTokens) write(keys idtoken.Keys) error {
	text, err := keys.Encode()
	if err != nil {
		return err
	}

	temporary, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*.new") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone already after the rename

	_, err = temporary.Write(text)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}

	f.site.deps.Log.Info("keys of ID tokens were made", "file", f.path, "keys", len(keys))
	return os.Rename(temporary.Name(), f.path)
}

// replace reads the keys again and has them used, where people sign in.
func (f idTokens) replace() (string, error) {
	if f.site.people == nil {
		return "nothing, as nobody signs in", nil
	}

	keys, err := f.load()
	if err == nil {
		err = f.site.oauth.SetIDTokenKeys(keys)
	}
	return fmt.Sprintf("%d keys", len(keys)), err
}

// files watches the file: an operator may replace it.
func (f idTokens) files() *files {
	return newFiles(
		"the file of the keys of ID tokens",
		[]string{f.path},
		f.site.deps.Log,
		f.replace,
	)
}

// rotate replaces our keys in time, until ctx ends.
func (f idTokens) rotate(ctx context.Context) {
	if f.site.people == nil || !f.ours {
		return
	}

	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}

		if _, err := f.replace(); err != nil {
			f.site.deps.Log.Error(
				"the keys of ID tokens could not be replaced",
				"cause",
				err,
			)
		}
	}
}
