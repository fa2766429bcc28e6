package server_test

import (
	"bytes"
	"context"
	"testing"

	"fhirdest.example/server/servertest"
)

// All audit records are for the configured client of one community. A member of
// another community with a certificate for the same URI gets its own only.
func TestAuditReadersAreOfOneCommunity(t *testing.T) {
	const uri, scope = "https://client.test/auditor", "system/Patient.rs system/AuditEvent.rs"
	for _, row := range []struct {
		name, reader string
		a, b         bool // may read the records of the other
	}{
		{"the first community", uri, true, false},
		{"the first by name", servertest.URIA + " " + uri, true, false},
		{"the second by name", servertest.URIB + " " + uri, false, true},
		{"another client", "https://client.test/other", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := servertest.Start(t, func(w *servertest.Env) { w.Config.AuditReaders = []string{row.reader} })
			a := d.Session(d.A, d.Client(d.A, uri), scope)
			b := d.Session(d.B, d.Client(d.B, uri), scope)
			for _, s := range []*servertest.Session{a, b} {
				fetched(t, s, "Patient?_count=1")
			}

			for _, q := range []struct {
				name        string
				from, other *servertest.Session
				want        bool
			}{{"A", a, b, row.a}, {"B", b, a, row.b}} {
				found := fetched(t, q.from, "AuditEvent?_count=100")
				own, other := string(q.from.Registered.ClientID), string(q.other.Registered.ClientID)
				if !bytes.Contains(found, []byte(own)) || bytes.Contains(found, []byte(other)) != q.want {
					t.Errorf("%s: the records of the other are read: %v, want %v\n%s", q.name, !q.want, q.want, found)
				}
			}
		})
	}
}

func fetched(t *testing.T, s *servertest.Session, path string) []byte {
	t.Helper()
	res, err := s.Client.Get(context.Background(), path, s.Token.Access)
	if err != nil || res.Reply.Status != 200 {
		t.Fatalf("%s: %v %v", path, res, err)
	}
	return res.Reply.Body
}
