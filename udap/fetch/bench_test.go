package fetch

import (
	"context"
	"testing"
	"time"

	"fhirdest.example/udap"
)

// BenchmarkLists is what every judged certificate pays once its list is known.
func BenchmarkLists(b *testing.B) {
	t := &testing.T{}
	c, ca := newClock(), signer(t, "A")
	src, err := New(Config{Now: c.now, Allow: []string{"http://127.0.0.1:1"}})
	if err != nil {
		b.Fatal(err)
	}
	e, _ := src.entry("http://127.0.0.1:1/a.crl", ca.cert)
	list, err := parse(ca.list(t, 1, epoch, time.Hour), ca.cert, epoch)
	if err != nil {
		b.Fatal(err)
	}

	e.list, e.tried, e.fetched = list, epoch, epoch
	q := udap.CRLQuery{Issuer: ca.cert, URLs: []string{"http://127.0.0.1:1/a.crl"}}
	b.ReportAllocs()

	for b.Loop() {
		if a := src.CRLs(context.Background(), q); a[0].List == nil {
			b.Fatal(a[0].Err)
		}
	}
}
