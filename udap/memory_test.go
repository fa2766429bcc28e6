package udap_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// What a verifier remembers never outlives a date, a revocation or a
// registration, and never crosses communities.
// Covers: case 053, case 068, case 070, case 079, case 145
func TestMemoryIsSafe(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, func(t *certs.Template) {
		t.NotAfter = udaptest.Now.Add(time.Hour)
	})
	v := w.Verifier()
	judge := func(now time.Time, id trace.ClientID, cl *udaptest.Client) (*trace.Trace, error) {
		tr := trace.NewTrace("token", now)
		_, err := v.Assertion(ctx, cl.Sign(t, udaptest.Assertion(id, now)), "", udap.Expect{
			Now:      now,
			Audience: udaptest.Token,
		}, lookup, tr)
		return tr, err
	}

	for range 3 {
		if _, err := judge(w.Now, clientID, c); err != nil {
			t.Fatal(err)
		}
	}

	tr, err := judge(w.Now.Add(2*time.Hour), clientID, c)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.validity"})
	tr, err = judge(w.Now.Add(-48*time.Hour), clientID, c)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.validity"})
	tr, err = judge(w.Now, "client-b", c)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.path"})
	tr, err = judge(w.Now, "client-2", c)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "assertion.certificate"})

	w.Publish(t, w.A.Int, c.Leaf().SerialNumber)
	tr, err = judge(w.Now, clientID, c)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.revocation"})
	w.Publish(t, w.A.Int)
	if _, err = judge(w.Now, clientID, c); err != nil {
		t.Errorf("taken off the list again: %v", err)
	}
	forged := *c
	forged.Key = udaptest.Key(t, "p256", 60)

	tr, err = judge(w.Now, clientID, &forged)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "jws.signature"})
}

// A chain that led nowhere is looked at again with better certificates.
func TestNoLongLivedRefusals(t *testing.T) {
	w := udaptest.New(t, "p256")
	w.A.Community.Intermediates = nil
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	v := w.Verifier()
	exp := udap.Expect{Now: w.Now, Audience: udaptest.Registration}

	for range 2 {
		if _, err := v.Statement(ctx, c.SignChain(t, c.Statement(w.Now), c.Leaf()), exp, nil); err == nil {
			t.Fatal("accepted without its intermediate")
		}
	}

	if _, err := v.Statement(ctx, c.Sign(t, c.Statement(w.Now)), exp, nil); err != nil {
		t.Errorf("with its intermediate: %v", err)
	}
}

// One verifier serves many at once.
func TestConcurrentUse(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	compact := c.Sign(t, udaptest.Assertion(clientID, w.Now))
	v := w.Verifier()
	errs := make(chan error, 32)

	for range 32 {
		go func() {
			_, err := v.Assertion(ctx, compact, "", udap.Expect{Now: w.Now, Audience: udaptest.Token}, lookup, nil)
			errs <- err
		}()
	}

	for range 32 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Covers: case 221
func TestAudienceOfOtherEndpoints(t *testing.T) {
	w, c := sharedEnv(t, "p256")
	const introspect = "https://fhir.test/oauth/introspect"
	for aud, ok := range map[string]bool{introspect: true, udaptest.Token: false} {
		_, err := w.Verifier().Assertion(ctx, c.Sign(t, udaptest.Assertion(clientID, w.Now).With("aud", aud)), "",
			udap.Expect{
				Now:      w.Now,
				Audience: introspect,
				OurURLs:  ourURLs,
			}, lookup, nil)
		if (err == nil) != ok {
			t.Errorf("%s: %v", aud, err)
		}
	}
}

// Each check has one name, a title, and the requirements that it serves; and
// every step that the other tests saw belongs to one of them.
func TestChecksAreNamed(t *testing.T) {
	var names []string
	for _, c := range trace.Checks() {
		if c.Title == "" || len(c.Requirements) == 0 || !strings.Contains(c.Name, ".") {
			t.Errorf("check %+v", c)
		}
		names = append(names, c.Name)
	}

	w := udaptest.New(t, "rsa2048")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	_, one, err := statement(w, c.Sign(t, c.Interactive(w.Now)))
	if err != nil {
		t.Fatal(err)
	}
	_, two, err := assertion(w, c.Sign(t, udaptest.Assertion(clientID, w.Now)))
	if err != nil {
		t.Fatal(err)
	}

	_, three, err := discover(w, udaptest.Metadata(t, w.Client(t, w.A.Int, udaptest.Base, nil), w.Now, nil))
	if err != nil {
		t.Fatal(err)
	}

	for _, s := range slices.Concat(one.Steps, two.Steps, three.Steps) {
		if !slices.Contains(names, s.Check) {
			t.Errorf("the step %s is of no listed check", s.Check)
		}
	}
}
