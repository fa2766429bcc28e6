package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/load"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/gateway/complaint"
)

// LoadPlace is how far a file is loaded.
type LoadPlace = load.Place

// LoadOptions are how files of resources are loaded into a stopped destination.
type LoadOptions struct {
	Files []string
	Again bool // load files anew that were loaded whole before
	Now   func() time.Time
	// Progress is called after each transaction, and once for a file that was loaded
	// before.
	Progress func(file string, size int64, at LoadPlace)
}

// operator is whose load is in the audit records.
const operator = "operator"

// Load stores the resources of NDJSON files. The destination must not be running. A
// load that was interrupted goes on where it was, and a file that was loaded whole is
// not loaded again.
func (c Config) Load(ctx context.Context, o LoadOptions) error {
	if err := c.checkBackup(); err != nil {
		return err
	}

	c = c.withDefaults()
	s, err := storage{c}.engine().OpenResources(ctx)
	if err != nil {
		return errors.Join(complaintOf(err), s.Close())
	}
	defer s.Close()

	service, err := fhir.New(fhir.Config{
		PublicBase:        c.Public,
		PrivateBase:       c.Private,
		Store:             s.Resources,
		Authorize:         nobody,
		Now:               o.Now,
		StrictAttachments: c.Attachments == "refuse",
		Signatures:        c.loadingAuthority(o.Now),
		Labels:            c.Labels,
	})
	if err != nil {
		return err
	}
	defer service.Close()

	for _, name := range o.Files {
		if err := loadFile(ctx, service, o, name); err != nil {
			return complaint.New(fmt.Sprintf("%s: %v", name, err),
				"what was stored stays; run the same command again to go on")
		}
	}

	return nil
}

// loadingAuthority returns what verifies the signatures of resources that are loaded;
// nil where the trust communities cannot be read: then such resources are refused.
func (c Config) loadingAuthority(now func() time.Time) signature.Authority {
	m, err := c.loadTrust(now())
	if err != nil {
		return nil
	}

	s := &Site{
		cfg:   c,
		start: m,
		deps: SiteDeps{
			Now: now,
			Log: slog.New(slog.DiscardHandler),
		},
	}
	if s.revocation, err = s.newSource(); err != nil {
		return nil
	}
	s.current.Store(&m.communities)
	s.verifier.Store(s.newVerifier(m.communities))
	return &signatureAuthority{s}
}

// nobody is who may ask a service that only loads.
func nobody(*http.Request) (*fhir.Grant, *fhir.Denial) {
	return nil, &fhir.Denial{Status: http.StatusUnauthorized}
}

func loadFile(ctx context.Context, s *fhir.Service, o LoadOptions, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()

	st, err := f.Stat()
	if err != nil {
		return err
	}

	path, err := filepath.Abs(name)
	if err != nil {
		return err
	}

	sum := sha256.Sum256([]byte(path))
	mark := "load/" + hex.EncodeToString(sum[:])
	if o.Again {
		if err := s.Forget(ctx, mark, false); err != nil {
			return err
		}
	}

	all, _ := scope.ParseSet([]string{"system/*.cruds"})
	at, err := load.Run(ctx, load.Config{
		Service: s,
		Asked: &fhir.Asked{
			Interaction: "$import",
			Method:      http.MethodPost,
			Path:        []string{"$import"},
			Grant: &fhir.Grant{
				Client: operator,
				Scopes: all,
			},
		},
		Mark: mark,
		File: fmt.Sprintf("%s %d %s", path, st.Size(), st.ModTime().UTC().Format(time.RFC3339Nano)),
		Progress: func(at load.Place) error {
			o.Progress(name, st.Size(), at)
			return ctx.Err()
		},
	}, f)
	if err == nil {
		o.Progress(name, st.Size(), at)
	}

	return err
}
