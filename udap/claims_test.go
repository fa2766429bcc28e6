package udap_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// badClaim is what a wrong claim gets.
func badClaim(check, says string) expectation {
	return expectation{code: trace.InvalidSoftwareStatement, check: check, says: says}
}

// Covers: S1-076, S1-107, case 080, S1-154, S1-177
func TestSub(t *testing.T) {
	for name, v := range map[string]any{
		"absent": udaptest.Absent, "other": "https://other.test/", "null": nil, "array": []string{udaptest.Client1URI}, "case": strings.ToUpper(udaptest.Client1URI), "empty": "", "number": 1,
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t, attempt{name, withClaim("sub", v)}, badClaim("", ""))
		})
	}
	checkStatement(t, "absent", "sub", udaptest.Absent, badClaim("statement.sub", "no sub"))
}

// checkStatement changes one claim of a software statement in an environment of P-256 keys.
func checkStatement(t *testing.T, name, claim string, value any, want expectation) {
	t.Helper()
	t.Run(name+"/"+claim, func(t *testing.T) {
		w, c := sharedEnv(t, "p256")
		checkOne(t, w, c, "register", attempt{name, withClaim(claim, value)}, want)
	})
}

// Covers: S1-077, S1-103, S1-108, S2-19, case 082, case 148
func TestAudience(t *testing.T) {
	for _, endpoint := range []struct{ name, url, other, says string }{
		{"register", udaptest.Registration, udaptest.Token, "token endpoint"},
		{"token", udaptest.Token, udaptest.Registration, "registration endpoint"},
	} {
		for _, c := range []struct {
			name  string
			value any
			says  string
			ok    bool
		}{
			{"the URL", endpoint.url, "", true},
			{"array of it", []string{endpoint.url}, "", true},
			{"array with another", []string{endpoint.url, "https://other.test/"}, "2 values", false},
			{"array of another", []string{"https://other.test/"}, "", false},
			{"empty array", []string{}, "0 values", false},
			{"twice", []string{endpoint.url, endpoint.url}, "2 values", false},
			{"with a number", []any{endpoint.url, 1}, "string, or an array", false},
			{"nested array", []any{[]string{endpoint.url}}, "", false},
			{"absent", udaptest.Absent, "no aud", false},
			{"null", nil, "null", false},
			{"empty", "", "", false},
			{"our other endpoint", endpoint.other, endpoint.says, false},
			{"our issuer", "https://fhir.test/oauth", "this is the issuer", false},
			{"our base", udaptest.Base, "this is the FHIR base URL", false},
			{"our introspection", "https://fhir.test/oauth/introspect/", "this is the introspection endpoint", false},
			{"a slash", endpoint.url + "/", "only the trailing slash", false},
			{"case", strings.Replace(endpoint.url, "fhir.test", "FHIR.test", 1), "only upper and lower case", false},
			{"scheme", strings.Replace(endpoint.url, "https", "http", 1), "only the scheme", false},
			{"port", strings.Replace(endpoint.url, "fhir.test", "fhir.test:443", 1), "only the port", false},
			{
				"a query",
				endpoint.url + "?x=1",
				"at character " + strconv.Itoa(len(endpoint.url)+1) + ": the end against \"?\"",
				false,
			},
			{"an empty fragment", endpoint.url + "#", "the end against \"#\"", false},
			{"a fragment", endpoint.url + "#x", "only the fragment", false},
			{"percent-encoding", strings.Replace(endpoint.url, "/oauth/", "/oauth%2f", 1), "first difference", false},
			{
				"no port and another path",
				strings.Replace(endpoint.url, "/oauth/", "/OAuth2/", 1),
				"first difference",
				false,
			},
			{
				"private URL",
				strings.Replace(endpoint.url, "https://fhir.test", "http://127.0.0.1:9000", 1),
				"first difference",
				false,
			},
		} {
			want := expectation{}
			if !c.ok {
				want = badClaim("statement.aud", c.says).at(endpoint.name)
			}
			t.Run(endpoint.name+"/"+c.name, func(t *testing.T) {
				w, cl := sharedEnv(t, "p256")
				checkOne(t, w, cl, endpoint.name, attempt{c.name, withClaim("aud", c.value)}, want)
			})
		}
	}

	var v udap.Verifier
	w, c := sharedEnv(t, "p256")
	v.Communities, v.Revocation = w.Verifier().Communities, w
	if _, err := v.Statement(ctx, c.Sign(t, c.Statement(w.Now).With("aud", "")), udap.Expect{
		Now: w.Now,
	}, nil); err == nil {
		t.Error("without an audience to expect, an empty aud passes")
	}
}

// number is a JSON number as it is written.
type number = json.RawMessage

// Covers: S1-001, S1-078, S1-079, S1-080, S1-104, S1-109, S1-160, S1-180, case 083,
// case 084, case 085, case 086, case 087, case 149
func TestTimes(t *testing.T) {
	now := udaptest.Now.Unix()
	type change = map[string]any
	for _, c := range []struct {
		name  string
		set   change
		check string
		says  string
	}{
		{"300 s", change{"exp": now + 300}, "", ""},
		{"1 s", change{"exp": now + 1}, "", ""},
		{"exp absent", change{"exp": udaptest.Absent}, "statement.exp", "no exp"},
		{"exp null", change{"exp": nil}, "statement.exp", "null"},
		{"exp string", change{"exp": fmt.Sprint(now + 60)}, "statement.exp", "is a JSON number"},
		{"exp true", change{"exp": true}, "statement.exp", "boolean"},
		{"exp 1e400", change{"exp": number("1e400")}, "statement.exp", "whole number"},
		{"exp -1", change{"exp": -1}, "statement.exp", "whole number"},
		{"exp 0", change{"exp": 0}, "statement.lifetime", ""},
		{"exp 2^63", change{"exp": number("9223372036854775808")}, "statement.exp", ""},
		{"exp 2^53+1", change{"exp": number("9007199254740993")}, "statement.exp", ""},
		{"exp fraction", change{"exp": number(fmt.Sprintf("%d.5", now+60))}, "statement.exp", "whole number"},
		{"exp exponent", change{"exp": number("1.79e9")}, "statement.exp", "whole number"},
		{"exp -0", change{"exp": number("-0")}, "statement.exp", "whole number"},
		{"exp milliseconds", change{"exp": (now + 60) * 1000}, "statement.exp", "milliseconds"},
		{"exp array", change{"exp": []int64{now + 60}}, "statement.exp", "array"},
		{"expired beyond skew", change{"iat": now - 100, "exp": now - 61}, "statement.exp", "1m1s ago"},
		{"expired at skew", change{"iat": now - 100, "exp": now - 60}, "statement.exp", ""},
		{"expired within skew", change{"iat": now - 100, "exp": now - 59}, "", ""},
		{"lifetime 301", change{"exp": now + 301}, "statement.lifetime", "301 s"},
		{"lifetime 3600", change{"exp": now + 3600}, "statement.lifetime", "3600 s"},
		{
			"exp before iat, as the guide's example",
			change{"iat": now, "exp": now - 300},
			"statement.lifetime",
			"an example in the guide",
		},
		{"exp is iat", change{"exp": now}, "statement.lifetime", "0 s"},
		{"iat absent", change{"iat": udaptest.Absent}, "statement.iat", "no iat"},
		{"iat string", change{"iat": fmt.Sprint(now)}, "statement.iat", "is a JSON number"},
		{"iat null", change{"iat": nil}, "statement.iat", "null"},
		{"iat milliseconds", change{"iat": now * 1000}, "statement.iat", "milliseconds"},
		{"iat ahead by skew-1", change{"iat": now + 59, "exp": now + 359}, "", ""},
		{"iat ahead by skew", change{"iat": now + 60, "exp": now + 360}, "", ""},
		{
			"iat ahead by skew+1",
			change{"iat": now + 61, "exp": now + 361},
			"statement.iat",
			"your clock is 61 s ahead of ours",
		},
		{"iat ahead by an hour", change{"iat": now + 3600, "exp": now + 3900}, "statement.iat", "3600 s ahead"},
		{"ten minutes old", change{"iat": now - 600, "exp": now - 300}, "statement.exp", ""},
		{"old iat, far exp", change{"iat": now - 86400, "exp": now + 60}, "statement.lifetime", ""},
		{"nbf past", change{"nbf": now - 5}, "", ""},
		{"nbf ahead", change{"nbf": now + 61}, "statement.nbf", ""},
		{"nbf string", change{"nbf": fmt.Sprint(now)}, "statement.nbf", "is a JSON number"},
		{"nbf null", change{"nbf": nil}, "statement.nbf", "null"},
	} {
		want := expectation{}
		if c.check != "" {
			want = badClaim(c.check, c.says)
		}

		for _, endpoint := range []string{"register", "token"} {
			t.Run(endpoint+"/"+c.name, func(t *testing.T) {
				w, cl := sharedEnv(t, "p256")
				checkOne(t, w, cl, endpoint,
					attempt{c.name, func(t *testing.T, w *udaptest.Env, cl *udaptest.Client, good udaptest.Claims) string {
						for name, v := range c.set {
							good = good.With(name, v)
						}
						return cl.Sign(t, good)
					}}, want.at(endpoint))
			})
		}
	}
}

// The allowance is the community's, and its use is told.
func TestSkew(t *testing.T) {
	for _, c := range []struct {
		skew  time.Duration
		ahead time.Duration
		ok    bool
	}{
		{0, 42 * time.Second, true}, {5 * time.Minute, 4 * time.Minute, true},
		{-1, time.Second, false}, {-1, 0, true}, {time.Second, 2 * time.Second, false},
	} {
		t.Run(fmt.Sprintf("%v ahead, allowance %v", c.ahead, c.skew), func(t *testing.T) {
			w := udaptest.New(t, "p256")
			w.A.Community.Policy.Skew = c.skew
			cl := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
			_, tr, err := statement(w, cl.Sign(t, cl.Statement(w.Now.Add(c.ahead))))
			if (err == nil) != c.ok {
				t.Errorf("allowance %v, %v ahead: %v", c.skew, c.ahead, err)
			}
			if c.ok && c.ahead > 0 && (len(tr.Warnings()) != 1 ||
				!strings.Contains(tr.Warnings()[0].Remedy, "ahead of ours")) {
				t.Errorf("a clock that is %v ahead is not told: %+v", c.ahead, tr.Warnings())
			}
		})
	}
}

// Covers: S1-081, S1-158
func TestJTI(t *testing.T) {
	for name, v := range map[string]any{
		"absent": udaptest.Absent,
		"empty":  "",
		"number": 7,
		"null":   nil,
		"long":   strings.Repeat("j", 513),
		"array":  []string{"a"},
	} {
		t.Run(name, func(t *testing.T) {
			checkBoth(t, attempt{name, withClaim("jti", v)}, badClaim("statement.jti", ""))
		})
	}

	checkBoth(t, attempt{"512 bytes", withClaim("jti", strings.Repeat("j", 512))}, expectation{})
}

// Covers: S1-153, S1-177, S1-178, S2-08, case 143, case 144, case 145, case 147
func TestClientNames(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	both := func(id string) udaptest.Claims { return udaptest.Assertion(trace.ClientID(id), w.Now) }
	for _, k := range []struct {
		name   string
		claims udaptest.Claims
		param  string
		check  string
		says   string
	}{
		{"client URI in both", both(udaptest.Client1URI), "", "assertion.iss", "this is the client's URI"[12:]},
		{
			"client URI as iss", both(string(clientID)).With("iss", udaptest.Client1URI), "",
			"assertion.sub", "iss is the client's URI",
		},
		{
			"client URI as sub", both(string(clientID)).With("sub", udaptest.Client1URI), "",
			"assertion.sub", "sub is the client's URI",
		},
		{"iss and sub differ", both(string(clientID)).With("iss", "client-2"), "", "assertion.sub", ""},
		{"iss absent", both(string(clientID)).With("iss", udaptest.Absent), "", "assertion.iss", "no iss"},
		{"iss number", both(string(clientID)).With("iss", 1), "", "assertion.iss", "number"},
		{"unknown", both("nobody"), "", "assertion.iss", "register again"},
		{"case", both("CLIENT-1"), "", "assertion.iss", ""},
		{"another's, same community", both("client-2"), "", "assertion.certificate", udaptest.Client2URI},
		{"another community's", both("client-b"), "", "chain.path", ""},
		{"client_id differs", both(string(clientID)), "client-2", "assertion.client_id", "client-2"},
		{"client_id equal", both(string(clientID)), "client-1", "", ""},
	} {
		tr := trace.NewTrace("token", w.Now)
		_, err := w.Verifier().Assertion(ctx, c.Sign(t, k.claims), k.param, udap.Expect{
			Now:      w.Now,
			Audience: udaptest.Token,
		}, lookup, tr)
		want := expectation{}
		if k.check != "" {
			want = expectation{code: trace.InvalidClient, check: k.check, says: k.says}
		}

		t.Run(k.name, func(t *testing.T) { expectRefusal(t, tr, err, want) })
	}

	renewed := w.ClientWith(t, w.A.Int, udaptest.Client1URI, udaptest.Key(t, "p256", 40), nil)
	if _, _, err := assertion(w, renewed.Sign(t, both(string(clientID)))); err != nil {
		t.Errorf("a renewed certificate: %v", err)
	}
	if _, err := w.Verifier().Assertion(ctx, c.Sign(t, both(string(clientID))), "", udap.Expect{
		Now:      w.Now,
		Audience: udaptest.Token,
	}, nil, nil); err == nil {
		t.Error("accepted without a lookup")
	}
}

// A stranger is told the same about clients that exist and that do not.
// Covers: case 180
func TestNoOracleForStrangers(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.X.Int, udaptest.Client1URI, nil)
	var said []string

	for _, id := range []trace.ClientID{clientID, "nobody"} {
		_, tr, err := assertion(w, c.Sign(t, udaptest.Assertion(id, w.Now)))
		expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.path"})
		said = append(said, err.Error())
	}

	if said[0] != said[1] {
		t.Errorf("told apart:\n%s\n%s", said[0], said[1])
	}
}

// Covers: S1-172, S1-229, case 161, case 162
func TestAssertionFurtherClaims(t *testing.T) {
	w, c := sharedEnv(t, "p256")
	good := udaptest.Assertion(clientID, w.Now)
	a, _, err := assertion(w,
		c.Sign(t,
			good.With("scope",
				"system/Patient.rs system/Observation.rs").With("resources", []string{"https://x.test/"})))
	if err != nil || len(a.Scope) != 2 || !a.Resources {
		t.Errorf("read as %+v, %v", a, err)
	}

	if a, _, err = assertion(w, c.Sign(t, good)); err != nil || a.Scope != nil || a.Resources {
		t.Errorf("read as %+v, %v", a, err)
	}

	for _, v := range []any{"", "a  b", " a", 7, []string{"a"}, "a\"b", "a\nb", nil, strings.Repeat("a ", 2000) + "a"} {
		t.Run(cutName(fmt.Sprintf("scope %v", v)), func(t *testing.T) {
			_, tr, err := assertion(w, c.Sign(t, good.With("scope", v)))
			expectRefusal(t, tr, err, expectation{code: trace.InvalidRequest, check: "assertion.scope"})
		})
	}
}
