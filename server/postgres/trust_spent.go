package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
)

// jtiUse is when and where a jti was used first.
type jtiUse struct {
	minute, second int64 // up to which it is remembered; Unix time
	endpoint       string
}

// unsureJTI are those whose commit has an unknown outcome. In this process they count
// as used; if they were not stored, their JWT had no effect and no other destination
// has accepted it.
type unsureJTI struct {
	mu    sync.Mutex // guards the fields below
	used  map[stored.JTI]jtiUse
	floor int64 // up to which they are forgotten
}

func (u *unsureJTI) add(key stored.JTI, s oauth.Spend) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used == nil {
		u.used = map[stored.JTI]jtiUse{}
	}
	u.used[key] = useOf(s)
}

// find returns the error for a jti that counts as used, nil for others.
func (u *unsureJTI) find(key stored.JTI, s oauth.Spend) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if use, known := u.used[key]; known {
		return use.replayed(s)
	}
	return nil
}

// forget drops those that are remembered up to a minute.
func (u *unsureJTI) forget(floor int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if floor <= u.floor {
		return
	}

	u.floor = floor
	for key, use := range u.used {
		if use.minute <= floor {
			delete(u.used, key)
		}
	}
}

func useOf(s oauth.Spend) jtiUse {
	return jtiUse{
		minute:   int64(stored.MinuteSpent(s)),
		second:   s.Now.Unix(),
		endpoint: s.Endpoint,
	}
}

// replayed returns the error for another use of a jti, nil when the first is over.
func (u jtiUse) replayed(s oauth.Spend) error {
	if u.minute < int64(stored.MinuteFree(s)) {
		return nil
	}
	return &oauth.Replayed{
		Seen:     time.Unix(u.second, 0),
		Endpoint: u.endpoint,
	}
}

// refusal is the error of an effect that uses up its jti all the same.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }

// spend uses up a jti in the transaction of an effect. When the effect fails, nothing
// of it is stored and the jti is free, unless its error is a *refusal; when the outcome
// of the commit is not known, the jti counts as used.
func (t *Trust) spend(
	ctx context.Context, s oauth.Spend, want func(*trustTx), apply func(*trustTx) error,
) error {
	jti := newUse(s)
	if err := t.unsure.find(jti.key, s); err != nil {
		return err
	}

	var refused *refusal
	err := t.commits.DoWanting(ctx, func(b *trustTx) {
		jti.want(b)
		if want != nil {
			want(b)
		}
	}, func(b *trustTx) error {
		refused = nil
		if err := b.checkJTI(jti.key, s); err != nil {
			return err
		}
		if s.Expired() {
			return oauth.ErrExpired
		}
		if err := b.sweep(s.Now); err != nil {
			return err
		}

		if err := jti.checkProof(b); err != nil {
			refused = &refusal{&oauth.ProofError{Err: err}}
		} else {
			if err := apply(b); err != nil && !errors.As(err, &refused) {
				return err
			}
			jti.putProof(b)
		}
		b.putJTI(jti.key, s)
		return nil
	})

	switch {
	case err == nil && refused != nil:
		return refused.err
	case errors.Is(err, oauth.ErrUnknown):
		t.unsure.add(jti.key, s)
		if s.Proof != nil {
			t.unsure.add(jti.proof, *s.Proof)
		}
	}
	return err
}

// use is a jti, and that of the proof beside it if there is one.
type use struct {
	spend      oauth.Spend
	key, proof stored.JTI
}

func newUse(s oauth.Spend) use {
	u := use{
		spend: s,
		key:   stored.JTIOf(s),
	}
	if s.Proof != nil {
		u.proof = stored.JTIOf(*s.Proof)
	}
	return u
}

func (u *use) want(b *trustTx) {
	b.wantJTI = append(b.wantJTI, u.key[:])
	if u.spend.Proof != nil {
		b.wantJTI = append(b.wantJTI, u.proof[:])
	}
}

// checkProof returns why the proof cannot be used up.
func (u *use) checkProof(b *trustTx) error {
	p := u.spend.Proof
	if p == nil {
		return nil
	}
	if err := b.t.unsure.find(u.proof, *p); err != nil {
		return err
	}
	if err := b.checkJTI(u.proof, *p); err != nil {
		return err
	}
	if p.Expired() {
		return oauth.ErrExpired
	}
	return nil
}

func (u *use) putProof(b *trustTx) {
	if u.spend.Proof != nil {
		b.putJTI(u.proof, *u.spend.Proof)
	}
}

// checkJTI returns why a jti cannot be used up.
func (b *trustTx) checkJTI(key stored.JTI, s oauth.Spend) error {
	minute := int64(stored.MinuteSpent(s))
	if minute <= b.state.floor || b.state.restored > s.Now.Add(oauth.MaxSkew).Unix() {
		b.t.ahead.Store(max(b.state.floor, b.state.restored/60))
		return oauth.ErrSwept
	}
	b.t.ahead.Store(0)

	if before, used := b.jti[key]; used {
		if err := before.replayed(s); err != nil {
			return err
		}
	}
	if b.state.restored > 0 && s.Since.Unix() <= b.state.restored {
		return oauth.ErrRestored
	}
	if b.state.spent >= oauth.MaxSpent {
		return oauth.ErrFull
	}
	return nil
}

// spentRows are used jti that wait to be written.
type spentRows struct {
	keys, endpoints  [][]byte
	minutes, seconds []int64
}

func (r *spentRows) queue(b *pgx.Batch) {
	if len(r.keys) > 0 {
		b.Queue(`insert into spent (key, minute, second, endpoint)
			select * from unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[])`,
			r.keys, r.minutes, r.seconds, r.endpoints)
	}
}

// putJTI stores a jti, which checkJTI has accepted, as used.
func (b *trustTx) putJTI(key stored.JTI, s oauth.Spend) {
	b.write()
	if _, before := b.jti[key]; before {
		b.free = append(b.free, key[:])
		b.state.spent--
	}

	now := useOf(s)
	b.jti[key] = now
	b.state.spent++
	b.spent.keys = append(b.spent.keys, key[:])
	b.spent.minutes = append(b.spent.minutes, now.minute)
	b.spent.seconds = append(b.spent.seconds, now.second)
	b.spent.endpoints = append(b.spent.endpoints, []byte(now.endpoint))
}

// Bounds of what one transaction removes; the next goes on.
const (
	maxSweptRows   = 4000
	maxSweptGrants = 1000
)

// sweep removes what is over, once a minute, in the transaction of whoever comes first
// at any destination. The floor goes up with it: a jti that ends below it is refused,
// so that setting the clock back brings nothing to life.
func (b *trustTx) sweep(now time.Time) error {
	if b.swept || now.Unix() < 60 {
		return nil
	}

	b.swept = true
	minute := int64(stored.Minute(now))
	if minute-1 <= b.state.floor && !b.t.unswept {
		return nil
	}

	b.t.unswept = false
	b.state.floor = max(b.state.floor, minute-1)
	jti, err := b.remove(maxSweptRows, `delete from spent where key = any(array(
		select key from spent where minute <= $1 limit $2))`, b.state.floor)
	b.state.spent -= jti
	if err != nil {
		return err
	}

	if _, err := b.remove(maxSweptRows, `delete from token where (minute, number) in (
		select minute, number from token where minute <= $1 limit $2)`, b.state.floor); err != nil {
		return err
	}
	if err := b.sweepLaunches(now); err != nil {
		return err
	}

	for id, g := range b.grants {
		if v := g.found.value; v != nil && int64(stored.Minute(v.Expires)) < minute {
			b.grants[id].found = found[oauth.Grant]{}
		}
	}
	_, err = b.remove(maxSweptGrants, `delete from grants where id = any(array(
		select id from grants where minute < $1 order by minute limit $2))`, minute)
	return err
}

// remove runs a statement that removes rows up to a minute, most at a time.
func (b *trustTx) remove(most int64, statement string, minute int64) (n int64, err error) {
	n, err = b.exec(statement, minute, most)
	if n == most {
		b.t.unswept = true
	}
	return n, err
}

// AcceptTime has the destinations of a database go on from now, after the clock of one
// was ahead and was set back. It returns up to when requests would have been refused;
// the zero time when there is nothing to accept, and then it changes nothing. They may
// be running: each transaction reads what they share.
//
// What was used before must not work again, and used jti are forgotten up to the time
// that the clock showed. So, as after a restore, every JWT is refused that could have
// been accepted up to now.
func AcceptTime(ctx context.Context, c Config, now time.Time) (until time.Time, err error) {
	db, err := open(ctx, c, "trust", trustParameters)
	if err != nil {
		return until, err
	}
	defer db.Close()

	err = db.update(ctx, func(tx pgx.Tx) error {
		until = time.Time{}
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(writeLock)); err != nil {
			return err
		}

		var floor, restored int64
		err := tx.QueryRow(ctx, "select floor, restored from state").Scan(&floor, &restored)
		if err != nil {
			return err
		}
		for _, second := range []int64{60 * floor, restored} {
			if t := time.Unix(second, 0).UTC(); t.After(now) && t.After(until) {
				until = t
			}
		}
		if until.IsZero() {
			return nil
		}

		_, err = tx.Exec(
			ctx,
			"update state set floor = $1, restored = $2",
			int64(stored.Minute(now))-1,
			now.Unix(),
		)
		return err
	})
	return until, err
}
