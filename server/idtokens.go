package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/server/oauth/idtoken"
)

// idTokens keeps the file of the keys of ID tokens. One in the data directory is ours:
// it is made when it is absent, and gets a new key in time. One that is configured
// is the operator's.
type idTokens struct {
	path string
	ours bool
	now  func() time.Time
	log  *slog.Logger
}

// rotateEvery is how often our keys are looked at. They change every few months.
const rotateEvery = time.Hour

// IDTokenKeysFile returns the path of the file of the keys of ID tokens.
func (c Config) IDTokenKeysFile() string {
	if c.IDTokenKeys != "" {
		return c.file(c.IDTokenKeys)
	}
	return filepath.Join(c.file(c.Data), "id-token-keys.pem")
}

func (s *Site) idTokens(cfg Config) idTokens {
	return idTokens{
		path: cfg.IDTokenKeysFile(),
		ours: cfg.IDTokenKeys == "",
		now:  s.deps.Now,
		log:  s.deps.Log,
	}
}

// checkIDTokenKeys reads a configured file of keys.
func (l *loader) checkIDTokenKeys() {
	name := l.cfg.IDTokenKeys
	if name == "" || !l.private("idTokenKeys", name) {
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

	next, changed, err := keys.Rotated(f.now())
	if err == nil && changed {
		err = f.write(next)
	}
	if err != nil {
		return nil, fmt.Errorf("idTokenKeys: %s: %w", f.path, err)
	}
	return next, nil
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

	f.log.Info("keys of ID tokens were made", "file", f.path, "keys", len(keys))
	return os.Rename(temporary.Name(), f.path)
}

// idTokensFile watches the keys: an operator may replace them.
func (s *Site) idTokensFile(cfg Config) *files {
	f := s.idTokens(cfg)
	return newFiles("the file of the keys of ID tokens", []string{f.path}, s.deps.Log, func() (string, error) {
		keys, err := f.load()
		if err == nil {
			err = s.oauth.SetIDTokenKeys(keys)
		}
		return fmt.Sprintf("%d keys", len(keys)), err
	})
}

// rotateKeys replaces our keys in time, until ctx ends. The file shows the change to
// whoever watches it.
func (s *Site) rotateKeys(ctx context.Context) {
	f := s.idTokens(s.cfg)
	if s.people == nil || !f.ours {
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

		if _, err := f.load(); err != nil {
			s.deps.Log.Error("the keys of ID tokens could not be replaced", "cause", err)
		}
	}
}
