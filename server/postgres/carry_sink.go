package postgres

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/carry"
)

// Bounds of the rows that are sent in one COPY, and of their bytes.
const (
	maxCarried      = 16 << 10
	maxCarriedBytes = 8 << 20
)

// newImage is the schemas of a database while they are filled. It implements
// carry.Sink.
type newImage struct {
	tx   pgx.Tx
	name string // of the destination that restores

	// since is a number above all that the former schemas have given as versions of
	// registrations or of the index. A destination that was cut off meanwhile, and goes
	// on, then finds nothing of before as it has it in memory.
	since int64

	registrations int64
	used          int64
	joint         trail.Hash // of the last row of records

	// Rows that were not sent yet.
	into  destination
	rows  [][]any
	bytes int
}

// destination is where rows of a kind go.
type destination struct {
	schema, table string
	columns       []string
}

// carriedInto has the table of each kind that has one of its own.
var carriedInto = map[carry.Kind]destination{
	carry.Registrations: {"trust", "registration", []string{
		"key", "client_id", "version", "expires", "body",
	}},
	carry.UsedJTI:     {"trust", "spent", []string{"key", "minute", "second", "endpoint"}},
	carry.Lists:       {"trust", "list", []string{"key", "name", "fetched", "der"}},
	carry.Decisions:   {"trust", "decision", []string{"destination", "id", "body"}},
	carry.Memberships: {"trust", "membership", []string{"key", "body"}},
	carry.Resources: {"fhir", "doc", []string{
		"doc", "version", "updated", "method", "deleted", "type", "id", "terms", "body",
	}},
	carry.Versions: {"fhir", "former", []string{
		"doc", "version", "updated", "method", "deleted", "body",
	}},
	carry.Changes: {"fhir", "change", []string{"seq", "type", "doc", "version", "records"}},
	carry.Terms:   {"fhir", "term", []string{"term", "doc"}},
	carry.Chains: {"fhir", "chain", []string{
		"name", "anchor_sequence", "anchor_doc", "anchor_hash", "head_sequence", "head_doc", "head_hash",
	}},
	carry.Blocks: {"fhir", "record", []string{"first", "records", "chain", "change", "joint", "block"}},
}

// Put implements carry.Sink.
func (im *newImage) Put(ctx context.Context, k carry.Kind, r carry.Row) error {
	im.into = carriedInto[k]
	switch r := r.(type) {
	case *carry.Setting:
		return im.setting(ctx, k, r)
	case *carry.Registration:
		return im.registration(ctx, r)
	case *carry.Used:
		im.used++
		return im.add(ctx, 0, r.Key[:], int64(r.Minute), int64(r.Second), []byte(r.Endpoint))
	case *carry.List:
		return im.add(ctx, len(r.DER), digest(r.Key), []byte(r.Key), r.Fetched.Unix(), r.DER)
	case *carry.Decision:
		return im.decision(ctx, r)
	case *carry.Membership:
		return im.add(ctx, len(r.Body), digest(r.Provider), r.Body)
	case *carry.Version:
		return im.version(ctx, k, r)
	case *carry.Change:
		return im.add(ctx, 0, int64(r.Seq), r.Type, int64(r.Doc), int64(r.Version), int32(max(r.Records, 1)))
	case *carry.Term:
		return im.add(ctx, len(r.Term), r.Term, int64(r.Doc))
	case *carry.Chain:
		return im.chain(ctx, r)
	case *carry.Joint:
		im.joint = r.Joined
		_, err := im.tx.Exec(ctx, "update fhir.joint set anchor = $1", r.Joined[:])
		return storeError(err)
	case *carry.Block:
		return im.block(ctx, r)
	}
	return fmt.Errorf("no table has rows such as %T", r)
}

// End implements carry.Sink.
func (im *newImage) End(ctx context.Context, k carry.Kind) error {
	if err := im.send(ctx); err != nil {
		return err
	}

	var err error
	switch k {
	case carry.Registrations:
		_, err = im.tx.Exec(ctx, "select setval('trust.versions', $1)", im.since+im.registrations+1)
	case carry.UsedJTI:
		_, err = im.tx.Exec(ctx, "update trust.state set spent = $1", im.used)
	case carry.Terms:
		_, err = im.tx.Exec(ctx, "update fhir.numbers set epoch = $1", im.since)
	case carry.Blocks:
		_, err = im.tx.Exec(ctx, "update fhir.joint set head = $1", im.joint[:])
	}
	return storeError(err)
}

// add adds a row, of which about that many bytes count. The row is valid only now.
func (im *newImage) add(ctx context.Context, n int, values ...any) error {
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			values[i] = append([]byte{}, b...) // never nil, which would be null
		}
	}

	im.rows = append(im.rows, values)
	im.bytes += n
	if len(im.rows) < maxCarried && im.bytes < maxCarriedBytes {
		return nil
	}
	return im.send(ctx)
}

func (im *newImage) send(ctx context.Context) error {
	if len(im.rows) == 0 {
		return nil
	}
	rows := im.rows
	im.rows = im.rows[:0]
	im.bytes = 0
	table := pgx.Identifier{im.into.schema, im.into.table}
	_, err := im.tx.CopyFrom(ctx, table, im.into.columns, pgx.CopyFromRows(rows))
	return storeError(err)
}

// settingStatements store the settings that have a place of their own.
var settingStatements = map[string]string{
	carry.Floor:      "update trust.state set floor = $1",
	carry.Restored:   "update trust.state set restored = $1",
	carry.LastNumber: "update fhir.numbers set docs = $1",
	carry.LastChange: "update fhir.numbers set changes = $1, written = $1",
}

func (im *newImage) setting(ctx context.Context, k carry.Kind, s *carry.Setting) error {
	table := "fhir.setting"
	if k == carry.TrustSettings {
		table = "trust.settings"
	}
	if sql, ok := settingStatements[s.Name]; ok {
		_, err := im.tx.Exec(ctx, sql, number64(s.Value))
		return storeError(err)
	}

	name := s.Name
	if k == carry.TrustSettings && name == carry.HandleKey {
		name = "handles"
	}
	_, err := im.tx.Exec(ctx, "insert into "+table+" values ($1, $2)", name, s.Value)
	return storeError(err)
}

// number64 is a number of at most 8 bytes.
func number64(b []byte) int64 {
	var wide [8]byte
	copy(wide[max(0, len(wide)-len(b)):], b)
	return int64(binary.BigEndian.Uint64(wide[:]))
}

func (im *newImage) registration(ctx context.Context, r *carry.Registration) error {
	var expires any
	if at := r.LeafExpires(); !at.IsZero() {
		expires = max(at.Unix(), 0)
	}

	im.registrations++ // no version is given twice: see the table
	return im.add(
		ctx,
		len(r.Body),
		registrationKey(r.Community, r.Client),
		[]byte(r.ID),
		im.since+im.registrations,
		expires,
		r.Body,
	)
}

func (im *newImage) decision(ctx context.Context, d *carry.Decision) error {
	var parsed audit.Decision
	if err := json.Unmarshal(d.Body, &parsed); err != nil {
		return err
	}
	return im.add(ctx, len(d.Body), []byte(im.name), []byte(parsed.Trace.ID), d.Body)
}

func (im *newImage) version(ctx context.Context, k carry.Kind, v *carry.Version) error {
	c := columnsOf(v.Entry)
	n := len(v.Body) + len(v.Terms)
	values := []any{int64(v.Doc), int64(v.Version), c.updated, c.method, v.Deleted}
	if k == carry.Resources {
		values = append(values, v.Type, v.ID, []byte(v.Terms))
	}
	return im.add(ctx, n, append(values, v.Body)...)
}

func (im *newImage) chain(ctx context.Context, c *carry.Chain) error {
	a, h := c.Anchor, c.Head
	return im.add(
		ctx,
		0,
		c.Name,
		int64(a.Sequence),
		int64(a.Doc),
		a.Hash[:],
		int64(h.Sequence),
		int64(h.Doc),
		h.Hash[:],
	)
}

// block joins records that a destination on Bolt has stored to those before them. The
// joints of others are as they were.
func (im *newImage) block(ctx context.Context, b *carry.Block) error {
	joint := trail.Joint{
		Previous: im.joint,
		Change:   b.Change,
	}
	if b.Joint != nil {
		joint.Previous = b.Joint.Previous
	}

	bare := b.Block
	bare.Chain, bare.Joint = "", nil // they have columns of their own
	text := bare.Encode()
	previous := joint.Previous
	im.joint = joint.Next(b.Chain, b.End())
	return im.add(
		ctx,
		len(text),
		int64(b.First),
		int32(len(b.Links)),
		b.Chain,
		int64(b.Change),
		previous[:],
		text,
	)
}
