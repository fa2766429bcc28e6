package examine_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
)

// A destination that wants fewer requests gets each again after it asked to wait, and is
// found to be without fault.
func TestTooManyRequestsIsObeyed(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	n, refused := 0, 0
	f.has(func(e *exchange, next func()) {
		if n++; n%5 == 0 {
			refused++
			e.set(http.StatusTooManyRequests, members{"error": "temporarily_unavailable"})
			e.header.Set("Retry-After", "1")
			return
		}
		next()
	})

	s := setting(t, d, f.address)
	s.Wait = time.Millisecond
	r, err := examine.Run(context.Background(), s)
	if err != nil || refused == 0 {
		t.Fatal(refused, err)
	}
	for _, bad := range failed(r) {
		t.Errorf("%s: %s", bad.Check, bad.Found)
	}
	if len(r.Left) > 0 {
		t.Errorf("left: %v", r.Left)
	}
}

// A request that is put off again and again was not refused: what it is about is not
// exercised. A Retry-After that is a date counts as well.
func TestWhatIsPutOffIsNotRefused(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	f.has(func(e *exchange, next func()) {
		if head, _ := e.document(); e.at(registerPath) && head["crit"] != nil {
			e.set(http.StatusTooManyRequests, members{})
			e.header.Set("Retry-After", d.Now().Add(time.Second).Format(http.TimeFormat))
			return
		}
		next()
	})

	s := setting(t, d, f.address)
	s.Login, s.Wait = nil, time.Millisecond
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range failed(r) {
		t.Errorf("%s: %s", bad.Check, bad.Found)
	}
	for _, found := range r.Findings {
		if found.Check == "statement.crit" && !strings.Contains(found.Reason, "asked to wait each of 4 times: 429") {
			t.Errorf("%+v", found)
		}
	}
}

// A destination that cannot be reached violates nothing.
func TestNoAnswerIsNoViolation(t *testing.T) {
	d, _ := start(t)
	s := setting(t, d, d.Addr)
	s.Client.TLSRoots = x509.NewCertPool()
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if r.Count(conform.NotExercised) != len(r.Findings) ||
		!strings.Contains(r.Findings[0].Reason, "no answer: tls: failed to verify certificate") {
		t.Errorf("%+v", r.Findings[0])
	}
}

// The number of requests is bounded, and a destination that is gone is left alone; what
// was not done has its reason.
func TestRequestsAreBounded(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	asked := 0
	for _, c := range []struct {
		name, reason string
		most         int
		gone         bool
	}{
		{name: "few requests", reason: "has made its 20 requests", most: 20},
		{name: "gone", reason: "does not answer any more", gone: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked = 0
			f.has(func(e *exchange, next func()) {
				asked++
				if c.gone && asked > 12 {
					panic(http.ErrAbortHandler) // the connection is cut
				}
				next()
			})

			s := setting(t, d, f.address)
			s.Requests = c.most
			r, err := examine.Run(context.Background(), s)
			if err != nil {
				t.Fatal(err)
			}
			last := r.Findings[len(r.Findings)-1]
			if last.Verdict != conform.NotExercised || !strings.Contains(last.Reason, c.reason) {
				t.Errorf("%+v", last)
			}
			if asked > 60 {
				t.Errorf("%d requests", asked)
			}
			if c.gone != (len(r.Left) > 0) {
				t.Errorf("left: %v", r.Left)
			}
		})
	}
}

// What a destination writes is shown cut, and none of it is a credential of ours.
func TestAnswersAreShownCut(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	f.has(func(e *exchange, next func()) {
		next()
		if e.at(tokenPath) && e.status == http.StatusOK {
			o := e.object()
			delete(o, "token_type")
			o["scope"] = strings.Repeat("<script>\x1b[2J", 100_000)
			e.set(e.status, o)
		}
	})

	r, err := examine.Run(context.Background(), setting(t, d, f.address))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Outcomes() {
		if n := len(o.Text) + len(o.Found) + len(o.Expected); n > 5000 {
			t.Errorf("%s has %d bytes", o.Row, n)
		}
	}
}

// Without an issuer, a person and another community, what can be shown is, and the
// rest has its reason.
func TestWithAMemberAlone(t *testing.T) {
	d, _ := start(t)
	s := setting(t, d, d.Addr)
	s.Issuer, s.OtherIssuer, s.Login = nil, nil, nil
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range failed(r) {
		t.Errorf("%s: %s", f.Check, f.Found)
	}
	for check, reason := range map[string]string{
		"statement.certificate.dates": "no key of an issuer",
		"change.community":            "no certificate of another community",
		"authorize.client":            "no second client",
	} {
		for _, f := range r.Findings {
			if f.Check == check && (f.Verdict != conform.NotExercised || !strings.Contains(f.Reason, reason)) {
				t.Errorf("%+v", f)
			}
		}
	}
	if n := r.Count(conform.Shown); n < 80 {
		t.Errorf("%d checks are shown", n)
	}
}
