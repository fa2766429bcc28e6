package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/server/bolt"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/udap/trace"
)

// modelStore is one side of the comparison with its tokens, by the call that
// issued them.
type modelStore struct {
	oauth.Store

	mu     sync.Mutex // guards tokens
	tokens map[int]oauth.TokenKey
}

// issued remembers the token that a call got.
func (st *modelStore) issued(call int, h oauth.Handle, hash oauth.Hash) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.tokens[call] = oauth.TokenKey{
		Handle: h,
		Hash:   hash,
	}
}

// token returns the token that a call got, if any.
func (st *modelStore) token(call int) (oauth.TokenKey, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	k, ok := st.tokens[call]
	return k, ok
}

// modelOp is one call, the same on both sides. It returns what is to be compared.
type modelOp struct {
	name string
	do   func(*modelStore) string
}

// modelRun makes calls by chance.
type modelRun struct {
	*rand.Rand
	n      int // calls so far
	now    time.Time
	grants []oauth.GrantID // that were approved, or refused
}

func (m *modelRun) spend() oauth.Spend {
	jti := fmt.Sprint("fresh ", m.n)
	if m.IntN(4) == 0 {
		jti = fmt.Sprint("often ", m.IntN(4))
	}
	s := jwt(jti, m.now, m.now)
	s.Since = storetest.Start.Add(-time.Hour)
	if m.IntN(5) == 0 {
		proof := jwt(fmt.Sprint("proof ", m.IntN(3)), m.now, m.now)
		s.Proof = &proof
	}
	return s
}

func (m *modelRun) client() oauth.Registration {
	c := m.IntN(3)
	return oauth.Registration{
		ID:        trace.ClientID(fmt.Sprint("id ", c)),
		Community: "urn:a",
		Client:    trace.ClientURI(fmt.Sprint("https://c.test/", c)),
		Statement: "s",
		Granted:   oauth.Parameters{Scope: strings.Repeat("x", m.IntN(3))},
	}
}

// someID returns the identifier of a client that may have been registered.
func (m *modelRun) someID() trace.ClientID {
	return trace.ClientID(fmt.Sprint("id ", m.IntN(3)))
}

// grantID returns one of the latest grants.
func (m *modelRun) grantID() oauth.GrantID {
	if len(m.grants) == 0 {
		return ""
	}
	return m.grants[len(m.grants)-1-m.IntN(min(4, len(m.grants)))]
}

func (m *modelRun) token(g oauth.GrantID) *oauth.Token {
	return &oauth.Token{
		Hash:     oauth.Hash{byte(m.n), byte(m.n >> 8)},
		ClientID: m.someID(),
		Epoch:    uint64(m.IntN(2)),
		Grant:    g,
		Expires:  m.now.Add(time.Hour),
	}
}

// sweep removes what is over. It comes first: a call that fails after it would be done
// again after the others.
func (m *modelRun) sweep(ctx context.Context) modelOp {
	s := jwt(fmt.Sprint("sweep ", m.n), m.now, m.now)
	return modelOp{"sweep", func(st *modelStore) string { return outcome(st.Spend(ctx, s)) }}
}

// outcome is what an error means to a caller.
func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.As(err, new(*oauth.ProofError)):
		return "proof"
	case errors.As(err, new(*oauth.Replayed)):
		return "replayed"
	}
	return err.Error()
}

var errModel = errors.New("refused by the model")

func (m *modelRun) op(ctx context.Context) modelOp {
	m.n++
	n, s, id := m.n, m.spend(), m.grantID()
	subject := fmt.Sprint("person ", m.IntN(2))
	switch m.IntN(14) {
	case 0, 1:
		r := m.client()
		return modelOp{"register", func(st *modelStore) string {
			now, before, err := st.Register(ctx, s, r)
			if err != nil {
				return outcome(err)
			}
			return fmt.Sprint(now.ID, now.Epoch, before == nil)
		}}
	case 2:
		r := m.client()
		return modelOp{"cancel", func(st *modelStore) string {
			old, err := st.Cancel(ctx, s, r.Community, r.Client)
			return fmt.Sprint(old != nil, outcome(err))
		}}
	case 3, 4, 5:
		token := *m.token("")
		return modelOp{"issue", func(st *modelStore) string {
			h, err := st.Issue(ctx, s, token)
			if err == nil {
				st.issued(n, h, token.Hash)
			}
			return outcome(err)
		}}
	case 6, 7:
		return m.approve(ctx, subject)
	case 8, 9:
		return m.exchange(ctx, s, id)
	case 10:
		return modelOp{"withdraw", func(st *modelStore) string { return outcome(st.Withdraw(ctx, id, subject)) }}
	case 11:
		return modelOp{"narrow", func(st *modelStore) string {
			return outcome(st.Narrow(ctx, id, subject, []string{fmt.Sprint(n)}))
		}}
	case 12:
		return modelOp{"end session", func(st *modelStore) string {
			return outcome(st.EndSession(ctx, subject, "session"))
		}}
	default:
		used, owner := m.IntN(m.n), m.someID()
		return modelOp{"revoke", func(st *modelStore) string {
			k, _ := st.token(used) // zero: there is none
			return outcome(st.Revoke(ctx, s, owner, k.Handle, k.Hash))
		}}
	}
}

func (m *modelRun) approve(ctx context.Context, subject string) modelOp {
	id := oauth.GrantID(fmt.Sprintf("%032x", m.n))
	m.grants = append(m.grants, id)
	seen := &oauth.Registration{
		Statement: "s",
		Epoch:     uint64(m.IntN(2)),
	}
	g := oauth.Grant{
		ID:       id,
		ClientID: m.someID(),
		Person:   oauth.Person{Subject: subject},
		Session:  []string{"", "session"}[m.IntN(2)],
		Created:  m.now,
		Expires:  m.now.Add(time.Duration(1+m.IntN(5)) * time.Minute),
	}
	return modelOp{"approve", func(st *modelStore) string { return outcome(st.Approve(ctx, g, seen)) }}
}

func (m *modelRun) exchange(ctx context.Context, s oauth.Spend, id oauth.GrantID) modelOp {
	n, token, how, dropped := m.n, m.token(id), m.IntN(4), m.IntN(m.n)
	return modelOp{"exchange", func(st *modelStore) string {
		h, err := st.Exchange(ctx, s, id, func(g *oauth.Grant) oauth.Change {
			if g == nil || how == 0 {
				return oauth.Change{
					Err: errModel,
					End: how == 0,
				}
			}
			next := *g
			next.Used = next.Used.Add(time.Minute)
			next.Refresh = &oauth.Refresh{Current: oauth.Hash{byte(n)}}
			token.ClientID = g.ClientID
			c := oauth.Change{
				Grant: &next,
				Token: token,
			}
			if k, issued := st.token(dropped); how == 1 && issued {
				c.Drop = &k
			}
			return c
		})
		if err == nil {
			st.issued(n, h, token.Hash)
		}
		return outcome(err)
	}}
}

// state is everything that can be read of a store.
func (m *modelRun) state(t *testing.T, st *modelStore) string {
	var b strings.Builder
	for c := range 3 {
		r, err := st.Client(t.Context(), trace.ClientID(fmt.Sprint("id ", c)))
		if err != nil {
			t.Fatal(err)
		}
		if r != nil {
			fmt.Fprintln(&b, "client", r.ID, r.Client, r.Epoch, r.Granted.Scope)
		}
	}
	for n := range m.n + 1 {
		if k, issued := st.token(n); issued {
			held, err := st.Live(t.Context(), k.Handle, k.Hash)
			if err != nil {
				t.Fatal(err)
			}
			if held.Token != nil && held.Token.Expires.After(m.now) {
				fmt.Fprintln(&b, "token", n, held.Token.ClientID, held.Registration != nil, held.Grant != nil)
			}
		}
	}
	for i, id := range m.grants {
		g, err := st.Grant(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if g != nil && g.Expires.After(m.now) {
			fmt.Fprintln(&b, "grant", i, g.ClientID, g.Person.Subject, g.Revision, g.Scope, g.Used.Unix(), g.Refresh != nil)
		}
	}
	return b.String()
}

// What callers do that share one transaction has the same outcome and leaves the same
// as with Bolt, where each has one of its own.
func TestTrustBatchIsASequence(t *testing.T) {
	t.Parallel() // most of it waits
	const seeds, rounds, calls = 8, 8, 25
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHolder(t)
			alone, err := bolt.OpenTrust(filepath.Join(t.TempDir(), "trust.bolt"), bolt.Options{NoSync: true})
			if err != nil {
				t.Fatal(err)
			}
			defer alone.Close()

			sides := [2]*modelStore{newModelStore(alone), newModelStore(h.store)}
			m := &modelRun{
				Rand: rand.New(rand.NewPCG(uint64(seed), 1)),
				now:  storetest.Start,
			}
			for round := range rounds {
				m.now = m.now.Add(time.Duration(m.IntN(4)) * time.Minute)
				ops := make([]modelOp, calls)
				want, got := make([]string, calls), make([]string, calls)
				for i := range ops {
					ops[i] = m.op(t.Context())
					if i == 0 {
						ops[i] = m.sweep(t.Context())
					}
					want[i] = ops[i].do(sides[0])
				}

				done := h.batch(len(ops), func(i int) { got[i] = ops[i].do(sides[1]) })
				done()
				for i, op := range ops {
					if got[i] != want[i] {
						t.Errorf("round %d, call %d, %s: %s, want %s", round, i, op.name, got[i], want[i])
					}
				}
				if got, want := m.state(t, sides[1]), m.state(t, sides[0]); got != want {
					t.Fatalf("round %d leaves\n%s\nwant\n%s", round, got, want)
				}
			}
		})
	}
}

func newModelStore(s oauth.Store) *modelStore {
	return &modelStore{
		Store:  s,
		tokens: map[int]oauth.TokenKey{},
	}
}

// holder is a store whose commits can be held.
type holder struct {
	store            *postgres.Trust
	holding          atomic.Bool
	entered, release chan bool
}

func newHolder(t *testing.T) *holder {
	t.Helper()
	h := &holder{
		entered: make(chan bool),
		release: make(chan bool),
	}
	d := &trustDatabase{config: postgres.WithCommit(postgres.Config{
		URL: postgrestest.New(t),
	}, func(ctx context.Context, tx pgx.Tx) error {
		if h.holding.CompareAndSwap(true, false) {
			h.entered <- true
			<-h.release
		}
		return tx.Commit(ctx)
	})}
	h.store = d.second(t)
	return h
}

// batch has n calls share one transaction, in their order: a commit is held until all
// of them are queued. The function that it returns lets them go, and waits for them.
func (h *holder) batch(n int, call func(i int)) (done func()) {
	var calls sync.WaitGroup
	h.holding.Store(true)
	calls.Go(func() { _ = h.store.SaveDecisions(nil) }) // of no interest
	<-h.entered
	for i := range n {
		calls.Go(func() { call(i) })
		for postgres.Waiting(h.store) <= i {
			runtime.Gosched()
		}
	}
	return func() {
		h.release <- true
		calls.Wait()
	}
}
