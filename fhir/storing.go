package fhir

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
)

const (
	pageKeySetting = "page-key"
	loadBatch      = 2000 // resources in one transaction of a load
	reindexBytes   = 8 << 20
)

// IndexSetting is the name of the setting that identifies the rules by which the index
// is made, in 8 bytes. While it is made anew they are followed by the number of the last
// resource that was indexed.
const IndexSetting = "index-version"

// prepareStore makes the key of page links once, and the index anew when it
// was made by other rules.
func (s *loader) prepareStore(ctx context.Context) error {
	secret, err := s.pageSecret(ctx)
	if err != nil {
		return err
	}

	for done := false; !done; {
		err = s.Store.Update(ctx, func(c Change) (err error) {
			done, err = s.prepareIndex(ctx, c)
			return err
		})
		if err != nil {
			return err
		}
	}

	s.pageKey, err = newPageKey(secret)
	return err
}

// indexVersion identifies the rules by which the index is made, those that imply
// labels included.
func (s *core) indexVersion() uint64 {
	return search.Version() ^ s.labels.Version()
}

// pageSecret returns the secret of page links, and makes it for a new store. That
// is one transaction, so that two servers that start together have one secret.
func (s *loader) pageSecret(ctx context.Context) (secret []byte, err error) {
	made := make([]byte, 32)
	rand.Read(made)
	err = s.Store.Update(ctx, func(c Change) error {
		key, err := c.Setting(ctx, pageKeySetting)
		if err != nil {
			return err
		}
		if secret = bytes.Clone(key); len(secret) > 0 {
			return nil
		}

		secret = made
		return c.SetSetting(ctx, pageKeySetting, made)
	})
	return secret, err
}

// entry makes a version to store of a body that was read. now becomes its
// lastUpdated.
func (s *core) entry(
	root *tree.Value, body []byte, typ, id string, version uint64, now time.Time,
) (Entry, error) {
	now = now.UTC().Truncate(time.Millisecond)
	body, err := splice.Set(body, root, splice.Identity{
		ID:          id,
		VersionID:   fmt.Sprint(version),
		LastUpdated: now,
	})
	if err != nil {
		return Entry{}, err
	}

	terms, err := s.ex.Extract(typ, root, search.Stamp{
		ID:      id,
		Updated: now,
	})
	if err != nil {
		return Entry{}, fail(http.StatusUnprocessableEntity, "too-costly", err.Error())
	}

	return Entry{
		Type:    typ,
		ID:      id,
		Version: version,
		Updated: now,
		Body:    body,
		Terms:   terms,
	}, nil
}

// Seed fills an empty store with the synthetic population of that many
// patients; a store that has a resource is left as it is.
func (s *Service) Seed(ctx context.Context, patients int) error {
	return (&loader{s.core}).seed(ctx, patients)
}

func (s *loader) seed(ctx context.Context, patients int) error {
	empty := true
	err := s.Store.View(ctx, func(sn Snapshot) error {
		return sn.Changes(ctx, "", 0, func(_, _, _ uint64) bool {
			empty = false
			return false
		})
	})
	if err != nil || !empty || patients <= 0 {
		return err
	}

	var batch []Entry
	now := s.Now()
	err = sample.History(patients, func(step sample.Step) error {
		e, err := s.seeded(step, now)
		if err != nil {
			return fmt.Errorf("fhir: sample %s/%s: %w", step.Type, step.ID, err)
		}
		if batch = append(batch, e); len(batch) < loadBatch {
			return nil
		}

		err = s.putAll(ctx, batch)
		batch = batch[:0]
		return err
	})
	if err != nil {
		return err
	}

	return s.putAll(ctx, batch)
}

// seeded makes one step of the sample's history an entry.
func (s *loader) seeded(step sample.Step, now time.Time) (Entry, error) {
	if step.Delete() {
		return Entry{
			Type:    step.Type,
			ID:      step.ID,
			Version: uint64(step.Version),
			Updated: now,
			Deleted: true,
		}, nil
	}

	root, err := tree.Parse(step.JSON)
	if err != nil {
		return Entry{}, err
	}
	return s.entry(root, step.JSON, step.Type, step.ID, uint64(step.Version), now)
}

func (s *loader) putAll(ctx context.Context, batch []Entry) error {
	return s.Store.Update(ctx, func(c Change) error {
		for _, e := range batch {
			if e.Version > 1 {
				doc, _, err := c.Lookup(ctx, e.Type, e.ID)
				if err != nil {
					return err
				}
				e.Doc = doc
			}

			if _, err := c.Put(ctx, e); err != nil {
				return err
			}
		}

		return nil
	})
}

// prepareIndex does a step of making every current resource's terms anew, if they were
// made by other rules, and reports whether there is no more to do. How far it has come is
// in the store: servers that start together do it together, and one that ended in the
// midst of it has harmed nothing.
func (s *loader) prepareIndex(ctx context.Context, c Change) (done bool, err error) {
	v, err := c.Setting(ctx, IndexSetting)
	if err != nil {
		return false, err
	}

	mine := binary.BigEndian.AppendUint64(nil, s.indexVersion())
	switch {
	case len(v) == 0 || bytes.Equal(v, mine):
		return true, c.SetSetting(ctx, IndexSetting, mine)
	case len(v) != 16 || !bytes.Equal(v[:8], mine):
		return false, errors.Join(c.DropIndex(ctx), c.SetSetting(ctx, IndexSetting, append(mine, make([]byte, 8)...)))
	}

	after := binary.BigEndian.Uint64(v[8:])
	var docs []uint64
	size := 0
	err = c.Each(ctx, after, func(e Entry) bool {
		docs = append(docs, e.Doc)
		size += len(e.Body)
		return len(docs) < loadBatch && size < reindexBytes
	})
	if err != nil {
		return false, err
	}
	if len(docs) == 0 {
		return true, c.SetSetting(ctx, IndexSetting, mine)
	}
	return false, errors.Join(
		s.reindexSome(ctx, c, docs),
		c.SetSetting(ctx, IndexSetting, binary.BigEndian.AppendUint64(mine, docs[len(docs)-1])),
	)
}

func (s *loader) reindexSome(ctx context.Context, c Change, docs []uint64) error {
	for _, doc := range docs {
		e, ok, err := c.Entry(ctx, doc)
		if err != nil {
			return err
		}
		if !ok || e.Deleted {
			continue
		}

		root, err := stored(e)
		if err != nil {
			return fmt.Errorf("fhir: index: %w", err)
		}

		terms, err := s.ex.Extract(e.Type, root, search.Stamp{
			ID:      e.ID,
			Updated: e.Updated,
		})
		if err != nil && !errors.Is(err, search.ErrTooManyTerms) { // it was stored before there was a bound
			return err
		}
		if err := c.Reindex(ctx, doc, terms); err != nil {
			return err
		}
	}

	return nil
}

// serveCapability answers GET [base]/metadata, to anybody.
func (s *describer) serveCapability(w http.ResponseWriter, r *request) (*response, error) {
	if r.method != http.MethodGet && r.method != http.MethodHead {
		f := fail(
			http.StatusMethodNotAllowed,
			"not-supported",
			"This path does not have that method.",
		)
		f.allow = "GET, HEAD"
		return nil, f
	}

	w.Header().Set("Cache-Control", "public, max-age=60")
	tag := `W/"` + hex.EncodeToString(s.digest[:8]) + [...]string{
		inJSON: "",
		inXML:  "-xml",
		inHTML: "-html",
	}[r.form.format] + `"`
	w.Header().Set("ETag", tag)
	if slices.ContainsFunc(tags(r.header, "If-None-Match"), func(t string) bool {
		return names(t, tag)
	}) {
		return &response{status: http.StatusNotModified}, nil
	}

	return s.dressed(r)
}

// dressed returns the statement in the form that was asked for. It is made once for
// each, as anybody may ask for it: a page of it costs far more than a read.
func (s *describer) dressed(r *request) (*response, error) {
	key := struct {
		form
		lines bool
	}{r.form, r.get("_pretty") == "true"}
	if made, ok := s.made.Load(key); ok {
		resp := *made.(*response)
		return &resp, nil
	}

	resp := &response{
		status: http.StatusOK,
		body:   s.statement,
		header: http.Header{},
	}
	if err := r.dress(s.PublicBase, resp.header, resp); err != nil {
		return nil, err
	}

	kept := *resp
	s.made.Store(key, &kept)
	return resp, nil
}
