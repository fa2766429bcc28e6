package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"go.etcd.io/bbolt"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server"
	"fhirdest.example/server/packed"
)

// recordFile is the file in a destination's data directory that has its audit record.
const recordFile = "fhir.bolt"

// verifier verifies the audit record in a directory; "" is that of the running
// destination. checkpoint is "", or that of an earlier report.
type verifier func(ctx context.Context, c *chain, dir, checkpoint string) (*server.AuditReport, error)

// verifyAudit is the verifier that "destination audit verify" is.
func verifyAudit(ctx context.Context, c *chain, dir, checkpoint string) (*server.AuditReport, error) {
	if dir != "" {
		return server.VerifyAudit(ctx, c.config, dir, checkpoint)
	}

	// The command finds out first that the files are in use, which needs seconds.
	target := c.manifest.Admin + "/audit/verify?checkpoint=" + url.QueryEscape(checkpoint)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", target, resp.Status)
	}
	out := new(server.AuditReport)
	return out, json.UnmarshalRead(io.LimitReader(resp.Body, 1<<20), out)
}

// chain is the audit record of the running destination.
type chain struct {
	*demo
	config     server.Config
	checkpoint string // before the story
}

// newChain verifies the chain for the first time.
func newChain(ctx context.Context, d *demo) (*chain, error) {
	file := d.file(d.manifest.Configs["destination"])
	c := &chain{
		demo:   d,
		config: server.Config{Dir: filepath.Dir(file)},
	}
	const elsewhere = "the destination's files are not on this machine: "
	if _, err := os.Stat(file); err != nil {
		return nil, hidden{elsewhere + err.Error()}
	}
	if err := yamlfile.Read(file, &c.config); err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.data()); err != nil && !c.shared() {
		return nil, hidden{elsewhere + err.Error()}
	}
	return c, c.sound(ctx)
}

// shared reports whether the record is on a database that destinations share.
func (c *chain) shared() bool { return c.manifest.Configs["destination2"] != "" }

// data is the file of the running destination.
func (c *chain) data() string {
	if filepath.IsAbs(c.config.Data) {
		return filepath.Join(c.config.Data, recordFile)
	}
	return filepath.Join(c.config.Dir, c.config.Data, recordFile)
}

// sound has the running destination verify its record, which must continue what there
// was before.
func (c *chain) sound(ctx context.Context) error {
	r, err := c.verifyAudit(ctx, c, "", c.checkpoint)
	if err == nil && !r.Intact {
		err = fmt.Errorf("the audit record of the destination is not sound: %v", r.Findings)
	}
	if err != nil {
		return err
	}
	c.checkpoint = r.Checkpoint
	return nil
}

// alteredIsFound alters the record of an AuditEvent in a copy of the file: it is found
// there, and the destination's own record is sound.
func (c *chain) alteredIsFound(ctx context.Context, id string) error {
	if err := c.sound(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sandbox-audit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	file := filepath.Join(dir, recordFile)
	if c.shared() {
		_, err = c.config.Backup(ctx, dir, c.now(), nil) // of one moment
	} else {
		err = c.copyTo(ctx, file)
	}
	if err != nil {
		return err
	}
	r, err := c.verifyAudit(ctx, c, dir, c.checkpoint)
	if err != nil {
		return err
	}
	if !r.Intact {
		return fmt.Errorf("a copy of the audit record is not sound: %v", r.Findings)
	}

	if err := alter(file, id); err != nil {
		return err
	}
	if r, err = c.verifyAudit(ctx, c, dir, ""); err != nil {
		return err
	}
	if r.Intact || len(r.Findings) == 0 {
		return fmt.Errorf("AuditEvent/%s was altered in a copy, and nothing was found", id)
	}
	found := r.Findings[0]
	if found.ID != id || !strings.Contains(found.Problem, "was altered") {
		return fmt.Errorf("AuditEvent/%s was altered in a copy, and this was found: %s", id, found)
	}
	return c.sound(ctx)
}

// copyTo copies the destination's file between two of its commits.
func (c *chain) copyTo(ctx context.Context, to string) error {
	from, err := os.Open(c.data())
	if err != nil {
		return err
	}
	defer from.Close()

	ctx, cancel := context.WithTimeout(ctx, c.settleTime)
	defer cancel()
	for {
		same, err := copyStill(from, to)
		if same || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("the audit record cannot be copied: it changes all the time")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// copyStill copies a Bolt file, and reports whether nothing was committed meanwhile:
// a commit ends with another of the two pages at the beginning, and what it writes
// before is nowhere in what was committed earlier.
func copyStill(from *os.File, to string) (same bool, err error) {
	before, after := make([]byte, 2*os.Getpagesize()), make([]byte, 2*os.Getpagesize())
	if _, err := from.ReadAt(before, 0); err != nil {
		return false, err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return false, err
	}

	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, certs.ModeSecret)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	_, err = from.ReadAt(after, 0)
	return bytes.Equal(before, after), err
}

// alter makes the record of an AuditEvent one of treatment, as somebody would who
// knows the layout: the checksum of its row is right.
func alter(file, id string) error {
	doc, ok := trail.Doc(id)
	if !ok {
		return fmt.Errorf("%q is no id of an AuditEvent", id)
	}
	db, err := bbolt.Open(file, certs.ModeSecret, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}

	err = db.Update(func(tx *bbolt.Tx) error {
		rows := tx.Bucket([]byte("records"))
		c := rows.Cursor()
		k, v := c.Last()
		for k != nil && binary.BigEndian.Uint64(k) > doc {
			k, v = c.Prev()
		}
		if len(v) < crc32.Size {
			return fmt.Errorf("AuditEvent/%s is not in the copy", id)
		}

		b, ok := packed.Decode(k, bytes.Clone(v[:len(v)-crc32.Size]))
		if !ok || doc-b.First >= uint64(len(b.Links)) {
			return fmt.Errorf("AuditEvent/%s is not in the copy", id)
		}
		link := &b.Links[doc-b.First]
		rec, err := link.Unpack()
		if err != nil {
			return err
		}
		rec.Purposes = []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"}
		link.Packed = rec.Pack()
		return rows.Put(bytes.Clone(k), sealed("records", k, b.Encode()))
	})
	return errors.Join(err, db.Close())
}

// sealed appends the checksum that the destination's file has behind each value: the
// CRC-32C of the bucket's name, the key and the value.
func sealed(bucket string, key, value []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum([]byte(bucket+"\x00"), table)
	for _, part := range [][]byte{key, value} {
		sum = crc32.Update(sum, table, part)
	}
	return binary.BigEndian.AppendUint32(value, sum)
}
