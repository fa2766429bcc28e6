package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/scripts/measure"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/udap/trace"
)

// statementBytes is the size of a statement with its certificates, as it is usual.
const statementBytes = 4600

// multiply adds copies of the registration of client 00000001 up to a number, each
// with a name of its own. The key is that which the store gives them.
const multiply = `
insert into trust.registration (key, client_id, version, body)
select
	sha256(convert_to('urn:a', 'UTF8') || '\x00' || convert_to('https://c.test/' || name, 'UTF8')),
	convert_to(name, 'UTF8'),
	nextval('trust.versions'),
	convert_to(replace(convert_from(body, 'UTF8'), '00000001', name), 'UTF8')
from trust.registration, (select lpad(n::text, 8, '0') as name from generate_series($1::int, $2::int) n) names
where client_id = convert_to('00000001', 'UTF8')`

// BenchmarkTrustGrowth issues tokens to clients at random, few of whom are remembered,
// with 1,000 to 1,000,000 registrations. CPU is of this process and of PostgreSQL.
func BenchmarkTrustGrowth(b *testing.B) {
	server, err := local.Start(b.Context(), serverDirectory(b), local.Options{Durable: true})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Stop()

	c := postgres.Config{URL: server.URL(local.Account)}
	if _, err := postgres.Migrate(b.Context(), c); err != nil {
		b.Fatal(err)
	}
	s, err := postgres.OpenTrust(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()

	statement := make([]byte, statementBytes/2)
	_, _ = rand.Read(statement)
	_, _, err = s.Register(b.Context(), storetest.Spend("register"), oauth.Registration{
		ID:        "00000001",
		Community: "urn:a",
		Client:    "https://c.test/00000001",
		Statement: hex.EncodeToString(statement),
	})
	if err != nil {
		b.Fatal(err)
	}

	admin, err := pgx.Connect(b.Context(), c.URL)
	if err != nil {
		b.Fatal(err)
	}
	defer admin.Close(context.Background())

	last := 1
	for _, size := range []int{1_000, 10_000, 100_000, 1_000_000} {
		if _, err := admin.Exec(b.Context(), multiply, last+1, size); err != nil {
			b.Fatal(err)
		}
		if _, err := admin.Exec(b.Context(), "vacuum analyze trust.registration"); err != nil {
			b.Fatal(err)
		}

		last = size
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			before := measure.CPUOf(server.PID())
			measureIssue(b, s, size)
			after := measure.CPUOf(server.PID())
			b.ReportMetric(float64((after-before).Microseconds())/float64(b.N), "postgres-µs/op")
		})
	}
}

// measureIssue issues a token to a client at random, as an assertion has it: the
// registration is read, and the token is stored with the use of a jti.
func measureIssue(b *testing.B, s *postgres.Trust, size int) {
	run := strings.Clone(rand.Text())
	measureBy(b, 16, func(i int) error {
		id := trace.ClientID(fmt.Sprintf("%08d", 1+mathrand.IntN(size)))
		r, err := s.Client(context.Background(), id)
		if err != nil {
			return err
		}
		if r.ID != id {
			return fmt.Errorf("the registration of %s is that of %s", id, r.ID)
		}

		_, err = s.Issue(context.Background(), storetest.Spend(fmt.Sprint(run, i)), oauth.Token{
			Hash:      oauth.Hash{1},
			ClientID:  id,
			Community: "urn:a",
			Client:    r.Client,
			Scope:     []string{"system/Patient.rs"},
			Issued:    storetest.Start,
			Expires:   storetest.Start.Add(time.Hour),
		})
		return err
	})
}
