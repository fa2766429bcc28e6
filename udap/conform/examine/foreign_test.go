package examine_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
	"fhirdest.example/udap/forge"
)

// A destination of another make that answers in a way of its own is found to be at fault
// in what is its fault, and in nothing else. What can then not be shown has its reason.
func TestDestinationsOfAnotherMake(t *testing.T) {
	d, revoked := start(t)
	f := newFaulty(t, d)
	for _, c := range []struct {
		name   string
		fault  fault
		failed []string
		reason map[string]string // of checks that are not exercised
	}{
		{
			name:   "no token endpoint",
			fault:  notFound(tokenPath),
			failed: []string{"discovery.true", "token.issued"},
			reason: map[string]string{"assertion.aud": "a good token request is refused too: 404 Not Found"},
		},
		{
			name:   "no registration endpoint",
			fault:  notFound(registerPath),
			failed: []string{"discovery.true", "register.accepted"},
			reason: map[string]string{"token.issued": "a good statement is refused too: 404 Not Found"},
		},
		{
			name:   "refusals are pages with status 500",
			fault:  refusing(registerPath, webPage(http.StatusInternalServerError)),
			failed: []string{"register.errors"},
		},
		{
			name:   "refusals are pages with status 200",
			fault:  refusing(registerPath, webPage(http.StatusOK)),
			failed: []string{"register.errors"},
		},
		{
			name:   "refusals are no answer",
			fault:  refusing(registerPath, hangUp),
			failed: []string{"register.errors"},
			reason: map[string]string{
				"discovery.true": "an empty request shows nothing there: registration_endpoint",
				"statement.aud":  "no answer to",
			},
		},
		{
			name:   "token refusals are no answer",
			fault:  refusing(tokenPath, hangUp),
			failed: []string{"token.errors"},
			reason: map[string]string{
				"assertion.aud":       "no answer to",
				"token.scope.invalid": "no answer",
			},
		},
		{
			name:  "other codes",
			fault: refusing(registerPath, func(e *exchange) { e.refuse("invalid_request") }),
		},
		{
			name:   "a page confirms a cancellation",
			fault:  uncancelled(webPage(http.StatusOK)),
			failed: []string{"cancel.accepted"},
			reason: map[string]string{"cancel.effective": "nothing was cancelled"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := setting(t, d, f.address)
			s.Login, s.Revoked = nil, revoked
			f.has(c.fault)
			r, err := examine.Run(context.Background(), s)
			f.has(nil)
			if err != nil {
				t.Fatal(err)
			}

			for _, found := range failed(r) {
				if !slices.Contains(c.failed, found.Check) {
					t.Errorf("%s fails too: %s", found.Check, found.Found)
				}
			}

			for _, found := range r.Findings {
				bad := found.Verdict == conform.Violated || found.Verdict == conform.Warned
				if slices.Contains(c.failed, found.Check) && !bad {
					t.Errorf("%s is %s: %s", found.Check, found.Verdict, found.Reason)
				}
				why := c.reason[found.Check]
				if why != "" && (found.Verdict != conform.NotExercised || !strings.Contains(found.Reason, why)) {
					t.Errorf("%s is %s, %q: no %q", found.Check, found.Verdict, found.Reason, why)
				}
			}
		})
	}
}

// notFound is a destination without an endpoint, behind a web server with pages of its own.
func notFound(path string) fault {
	return func(e *exchange, next func()) {
		if e.at(path) {
			webPage(http.StatusNotFound)(e)
			return
		}
		next()
	}
}

// refusing is a destination that refuses in another way.
func refusing(path string, how func(*exchange)) fault {
	return func(e *exchange, next func()) {
		if next(); e.at(path) && e.status >= http.StatusBadRequest {
			how(e)
		}
	}
}

func webPage(status int) func(*exchange) {
	return func(e *exchange) {
		e.status = status
		e.header = http.Header{"Content-Type": {"text/html"}}
		e.answer = []byte("<html><body>An error</body></html>")
	}
}

func hangUp(*exchange) { panic(http.ErrAbortHandler) }

// uncancelled is a destination that knows no cancellation.
func uncancelled(how func(*exchange)) fault {
	return func(e *exchange, next func()) {
		if _, claims := e.document(); e.at(registerPath) && len(e.sent) > 0 && cancels(nil, claims) {
			how(e)
			return
		}
		next()
	}
}

// A page with status 200 is no confirmation: the registration is listed as left.
func TestWebPageIsNoCancellation(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	f.has(uncancelled(webPage(http.StatusOK)))
	s := setting(t, d, f.address)
	s.Login = nil
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}

	if len(r.Left) == 0 || !strings.Contains(r.Left[0], "text/html") {
		t.Errorf("left: %q", r.Left)
	}
}

// A destination that refuses an empty array, and cancels for an array of an empty string,
// is warned of, and nothing is left there.
func TestOtherWayToCancel(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	f.has(func(e *exchange, next func()) {
		_, claims := e.document()
		grants, _ := claims["grant_types"].([]any)
		switch {
		case e.at(registerPath) && cancels(nil, claims):
			e.refuse("invalid_software_statement")
		case e.at(registerPath) && slices.Equal(grants, []any{""}):
			e.set(http.StatusOK, members{
				"client_id":   nil,
				"grant_types": grants,
			})

		default:
			next()
		}
	})

	s := setting(t, d, f.address)
	s.Login = nil
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Left) > 0 {
		t.Errorf("left: %q", r.Left)
	}

	for _, found := range failed(r) {
		if found.Check != "cancel.accepted" {
			t.Errorf("%s: %s", found.Check, found.Found)
		}
	}
}

// x5c may have the server's certificate alone. Where its issuer could be fetched, and may
// not be, the destination is not at fault, and the reason is what to add.
func TestIssuerLeftOutOfX5C(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	self := own(t, d, "a")

	for _, c := range []struct {
		name    string
		aia     []string
		verdict conform.Verdict
		reason  string
	}{
		{
			name:    "its place is named",
			aia:     []string{"http://issuers.test/a.cer"},
			verdict: conform.NotExercised,
			reason:  "(-aia) from http://issuers.test/a.cer",
		},
		{
			name:    "nobody can find it",
			verdict: conform.Violated,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaf, err := d.A.Issuing.Issue(certs.Template{
				CommonName: "Destination",
				URIs:       []string{d.Base},
				NotBefore:  d.Now().Add(-time.Hour),
				NotAfter:   d.Now().Add(time.Hour),
				CRL:        []string{d.Lists.URL + "/a.crl"},
				AIA:        c.aia,
			}, self.Key.Public())
			if err != nil {
				t.Fatal(err)
			}

			f.has(resigned(t, signer{Client: &forge.Client{
				Key:   self.Key,
				Chain: []*x509.Certificate{leaf},
			}}))
			r, err := examine.Run(context.Background(), setting(t, d, f.address))
			if err != nil {
				t.Fatal(err)
			}

			for _, found := range r.Findings {
				if found.Check != "signed.trust" {
					continue
				}
				if found.Verdict != c.verdict || !strings.Contains(found.Reason, c.reason) {
					t.Errorf("%s: %s%s", found.Verdict, found.Reason, found.Found)
				}
			}
		})
	}
}

// A requirement that is not kept in several places has all of them in its outcome.
func TestOutcomeNamesEveryPlace(t *testing.T) {
	d, _ := start(t)
	f := newFaulty(t, d)
	statements := lacks(registerPath, nil, "statement.nbf")
	assertions := lacks(tokenPath, nil, "assertion.nbf")
	f.has(func(e *exchange, next func()) {
		statements(e, func() { assertions(e, next) })
	})

	s := setting(t, d, f.address)
	s.Login = nil
	r, err := examine.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}

	for _, o := range r.Outcomes() {
		if o.Row != "S1-001" {
			continue
		}
		if o.Verdict != conform.Violated || o.Check != "statement.nbf" ||
			!strings.HasPrefix(o.Text, "Not kept: ") ||
			!strings.Contains(o.Found, "; violated assertion.nbf: accepted: not valid yet") {
			t.Errorf("%+v", o)
		}
	}
}
