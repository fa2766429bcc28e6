package udap_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

var ctx = context.Background()

// attempt is one thing that a client may send, made from good claims.
type attempt struct {
	name string
	make func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string
}

// expectation is what both endpoints must say to an attempt. An empty code
// means that it is accepted.
type expectation struct {
	code    trace.Code // at registration; at the token endpoint it is invalid_client
	check   string     // at registration; "statement." reads "assertion." at the token endpoint
	says    string     // part of the refusal's detail
	offline bool       // nothing may be asked about revocation
}

func (e expectation) at(endpoint string) expectation {
	if endpoint == "token" {
		e.check = strings.Replace(e.check, "statement.", "assertion.", 1)
		if e.code != "" {
			e.code = trace.InvalidClient
		}
	}
	return e
}

// checkBoth makes the attempt as a software statement and as an authentication
// token, in an environment of RSA keys and in one of P-256.
func checkBoth(t *testing.T, a attempt, want expectation) {
	t.Helper()
	for _, k := range kinds {
		for _, endpoint := range []string{"register", "token"} {
			t.Run(fmt.Sprintf("%s/%s/%s", a.name, endpoint, k), func(t *testing.T) {
				w, c := sharedEnv(t, k)
				checkOne(t, w, c, endpoint, a, want.at(endpoint))
			})
		}
	}
}

// sharedEnvs are for attempts that leave the environment as it is: making one costs
// twenty signatures.
var sharedEnvs = map[certs.KeyKind]*udaptest.Env{}

func sharedEnv(t *testing.T, k certs.KeyKind) (*udaptest.Env, *udaptest.Client) {
	t.Helper()
	if sharedEnvs[k] == nil {
		sharedEnvs[k] = udaptest.New(t, k)
	}
	w := sharedEnvs[k]
	return w, w.Client(t, w.A.Int, udaptest.Client1URI, nil)
}

func checkOne(t *testing.T, w *udaptest.Env, c *udaptest.Client, endpoint string, a attempt, want expectation) {
	t.Helper()
	var tr *trace.Trace
	var err error
	asked := w.Asked()
	if endpoint == "register" {
		_, tr, err = statement(w, a.make(t, w, c, c.Statement(w.Now)))
	} else {
		_, tr, err = assertion(w, a.make(t, w, c, udaptest.Assertion(clientID, w.Now)))
	}

	expectRefusal(t, tr, err, want)
	if want.offline && w.Asked() > asked {
		t.Errorf("asked about revocation %d times before the refusal", w.Asked()-asked)
	}
}

// expectRefusal compares a verdict with the expectation, and the refusal with
// the trace: the first step that refused is the one that decides.
func expectRefusal(t *testing.T, tr *trace.Trace, err error, want expectation) {
	t.Helper()
	var got *trace.Error
	switch errors.As(err, &got); {
	case want.code == "" && err != nil:
		t.Fatalf("refused: %v", err)
	case want.code == "":
		return
	case err == nil:
		t.Fatal("accepted")
	case got == nil:
		t.Fatalf("refused without a code: %v", err)
	}

	if got.Code != want.code || want.check != "" && got.Check != want.check {
		t.Errorf("refused with %s by %s, want %s by %s: %s", got.Code, got.Check, want.code, want.check, got.Detail)
	}
	if !strings.Contains(got.Detail, want.says) {
		t.Errorf("says %q, without %q", got.Detail, want.says)
	}
	i := slices.IndexFunc(tr.Steps, func(s trace.Step) bool { return s.Verdict == trace.Refused })
	if i < 0 || tr.Steps[i].Check != got.Check || tr.Code != got.Code || tr.Steps[i].Expected+tr.Steps[i].Found == "" {
		t.Errorf("the first refusal of the trace is step %d of %+v", i, tr.Steps)
	}
}

// alg is the algorithm of the client's key.
func alg(c *udaptest.Client) string { return jose.AlgorithmFor(c.Key.Public()) }

// withHeader signs good claims under a header with changed members.
func withHeader(more map[string]any) func(*testing.T, *udaptest.Env, *udaptest.Client, udaptest.Claims) string {
	return func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
		return signer(c).Sign(t, udaptest.HeaderWith(alg(c), more, c.Chain...), good.JSON(t))
	}
}

// withClaim signs with one claim changed.
func withClaim(name string, value any) func(*testing.T, *udaptest.Env, *udaptest.Client, udaptest.Claims) string {
	return func(t *testing.T, w *udaptest.Env, c *udaptest.Client, good udaptest.Claims) string {
		return c.Sign(t, good.With(name, value))
	}
}

func signer(c *udaptest.Client) udaptest.Raw { return udaptest.Raw{Alg: alg(c), Key: c.Key} }
