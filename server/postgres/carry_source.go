package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/carry"
	"fhirdest.example/server/tiered"
)

// Image is one state of a database while its rows are read. Destinations may run
// meanwhile and go on. It implements carry.Source.
type Image struct {
	tx   pgx.Tx
	conn *pgx.Conn // nil: the transaction is another's
}

var _ carry.Source = (*Image)(nil)

// OpenImage opens the present state of a database. As long as it is open, the server
// keeps what is deleted.
func OpenImage(ctx context.Context, c Config) (*Image, error) {
	c.OnlyReads = true
	for _, schema := range schemas {
		db, err := open(ctx, c, schema)
		if err != nil {
			return nil, err
		}
		_ = db.Close() // never fails
	}

	conn, err := connectLong(ctx, c)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{
		IsoLevel:   pgx.RepeatableRead,
		AccessMode: pgx.ReadOnly,
	})
	if err == nil {
		_, err = tx.Exec(ctx, "select one from trust.state") // the first statement fixes the state
	}
	if err != nil {
		return nil, errors.Join(unreachable(err), conn.Close(ctx))
	}
	return &Image{
		tx:   tx,
		conn: conn,
	}, nil
}

// connectLong returns a connection for transactions that may take long.
func connectLong(ctx context.Context, c Config) (*pgx.Conn, error) {
	settings, err := c.parse("public")
	if err != nil {
		return nil, err
	}
	for _, limit := range []string{"idle_in_transaction_session_timeout", "tcp_user_timeout"} {
		settings.ConnConfig.RuntimeParams[limit] = "0"
	}

	conn, err := pgx.ConnectConfig(ctx, settings.ConnConfig)
	if err != nil {
		return nil, unreachable(err)
	}
	return conn, nil
}

// Close ends the reading.
func (im *Image) Close() error {
	return im.conn.Close(context.Background())
}

// carried is how rows of a kind are read.
type carried struct {
	count string // a query of one number; empty: a handful
	query string // in the order of the kind
	row   func(*auditLog, pgx.Rows) (carry.Row, error)
}

// carriedKinds has each kind.
var carriedKinds = map[carry.Kind]carried{
	carry.TrustSettings: {
		query: `select 'floor', int4send(floor::int) from trust.state where floor > 0
			union all select 'handleKey', value from trust.settings where name = 'handles'
			union all select name, value from trust.settings where name = 'id-token-keys'
			union all select 'restored', int8send(restored) from trust.state where restored > 0`,
		row: settingRow,
	},
	carry.Registrations: {
		count: "select count(*) from trust.registration",
		query: "select body from trust.registration order by key",
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			r := new(carry.Registration)
			err := rows.Scan(&r.Body)
			if err == nil {
				err = damagedJSON("trust.registration", json.Unmarshal(r.Body, &r.Registration))
			}
			return r, err
		},
	},
	carry.UsedJTI: {
		count: "select count(*) from trust.spent",
		query: `select minute, row_number() over (order by minute, second, key), key, second, endpoint
			from trust.spent order by minute, second, key`,
		row: usedRow,
	},
	carry.Lists: {
		query: "select name, fetched, der from trust.list order by name",
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			l := new(carry.List)
			var name []byte
			var fetched int64
			err := rows.Scan(&name, &fetched, &l.DER)
			l.Key = string(name)
			l.Fetched = time.Unix(fetched, 0).UTC()
			return l, err
		},
	},
	carry.Decisions: {
		count: "select count(*) from trust.decision",
		query: "select number, body from trust.decision order by number",
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			d := new(carry.Decision)
			return d, rows.Scan(&d.Number, &d.Body)
		},
	},
	carry.Memberships: {
		query: "select body from trust.membership",
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			m := new(carry.Membership)
			var parsed tiered.Membership
			err := rows.Scan(&m.Body)
			if err == nil {
				err = damagedJSON("trust.membership", json.Unmarshal(m.Body, &parsed))
			}
			m.Provider = parsed.Provider
			return m, err
		},
	},
	carry.ResourceSettings: {
		query: `select 'last-change', int8send(changes) from fhir.numbers
			union all select 'last-number', int8send(docs) from fhir.numbers
			union all select name, value from fhir.setting`,
		row: settingRow,
	},
	carry.Resources: {
		count: "select count(*) from fhir.doc",
		query: "select " + entryColumns + " from fhir.doc order by doc",
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			e, err := scanEntry(rows)
			return &carry.Version{Entry: e}, err
		},
	},
	carry.Versions: {
		count: "select count(*) from fhir.former",
		query: `select f.doc, f.version, f.updated, f.method, f.deleted, f.body, d.type, d.id
			from fhir.former f left join fhir.doc d on d.doc = f.doc order by f.doc, f.version`,
		row: formerRow,
	},
	carry.Changes: {
		count: "select count(*) from fhir.change",
		query: `select type, seq, doc, version, case type when 'AuditEvent' then records else 0 end
			from fhir.change order by type collate "C", seq`,
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			c := new(carry.Change)
			return c, rows.Scan(&c.Type, &c.Seq, &c.Doc, &c.Version, &c.Records)
		},
	},
	carry.Terms: {
		count: "select count(*) from fhir.term",
		query: "select term, doc from fhir.term order by term, doc",
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			t := new(carry.Term)
			return t, rows.Scan(&t.Term, &t.Doc)
		},
	},
	carry.Chains: {
		query: `select name, anchor_sequence, anchor_doc, anchor_hash, head_sequence, head_doc, head_hash
			from fhir.chain where head_sequence > 0 order by name collate "C"`,
		row: func(s *auditLog, rows pgx.Rows) (carry.Row, error) {
			c, err := s.scanChain(rows)
			return &carry.Chain{Chain: c}, err
		},
	},
	carry.Joints: {
		query: "select anchor, head from fhir.joint",
		row: func(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
			var anchor, head []byte
			err := rows.Scan(&anchor, &head)
			j := new(carry.Joint)
			if err == nil && (len(anchor) != len(j.Joined) || len(head) != len(j.Newest)) {
				err = damaged("fhir.joint", "a hash has another length")
			}
			copy(j.Joined[:], anchor)
			copy(j.Newest[:], head)
			return j, err
		},
	},
	carry.Blocks: {
		count: "select count(*) from fhir.record",
		query: "select " + blockColumns + " from fhir.record order by first",
		row: func(s *auditLog, rows pgx.Rows) (carry.Row, error) {
			b, err := s.scan(rows)
			if err == nil {
				err = b.err
			}
			if err != nil {
				return nil, err
			}

			out := &carry.Block{
				Block:  *b.Block,
				Change: b.joint.Change,
			}
			out.Chain = b.chain
			out.Joint = &b.joint
			return out, nil
		},
	},
}

// Count implements carry.Source.
func (im *Image) Count(ctx context.Context, k carry.Kind) (n int64, err error) {
	if sql := carriedKinds[k].count; sql != "" {
		err = im.tx.QueryRow(ctx, sql).Scan(&n)
	}
	return n, storeError(err)
}

// Each implements carry.Source.
func (im *Image) Each(ctx context.Context, k carry.Kind, f func(carry.Row) error) error {
	of := carriedKinds[k]
	rows, err := im.tx.Query(ctx, of.query)
	if err != nil {
		return storeError(err)
	}
	defer rows.Close()

	decoder := &auditLog{state: &state{session: session{db: &database{
		schema: "fhir",
		health: &health{},
	}}}}
	for rows.Next() {
		r, err := of.row(decoder, rows)
		if err == nil {
			err = f(r)
		}
		if err != nil {
			return err
		}
	}
	return storeError(rows.Err())
}

// damagedJSON is the error for a body that is not what was written; nil for none.
func damagedJSON(table string, err error) error {
	if err == nil {
		return nil
	}
	return damaged(table, "a body is not what was written: %v", err)
}

func settingRow(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
	s := new(carry.Setting)
	return s, rows.Scan(&s.Name, &s.Value)
}

func usedRow(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
	u := new(carry.Used)
	var key, endpoint []byte
	err := rows.Scan(&u.Minute, &u.Number, &key, &u.Second, &endpoint)
	if err == nil && len(key) != len(u.Key) {
		err = damaged("trust.spent", "a key has %d bytes", len(key))
	}
	copy(u.Key[:], key)
	u.Endpoint = string(endpoint)
	return u, err
}

func formerRow(_ *auditLog, rows pgx.Rows) (carry.Row, error) {
	v := new(carry.Version)
	var c columns
	var typ, id *string
	err := rows.Scan(&v.Doc, &v.Version, &c.updated, &c.method, &v.Deleted, &v.Body, &typ, &id)
	if err == nil && (typ == nil || id == nil) {
		err = damaged("fhir.doc", "number %d is not there, though a version of it is", v.Doc)
	}
	if err == nil {
		c.give(&v.Entry)
		v.Type, v.ID = *typ, *id
	}
	return v, err
}
