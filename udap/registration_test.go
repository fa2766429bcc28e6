package udap_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// checkParameters changes registration parameters of a good statement, for people
// (authorization_code) or for machines.
func checkParameters(t *testing.T, people bool, set map[string]any, want expectation) *trace.Trace {
	t.Helper()
	w, c := sharedEnv(t, "p256")
	claims := c.Statement(w.Now)
	if people {
		claims = c.Interactive(w.Now)
	}
	for k, v := range set {
		claims = claims.With(k, v)
	}

	_, tr, err := statement(w, c.Sign(t, claims))
	t.Run(cutName(fmt.Sprint(set)), func(t *testing.T) { expectRefusal(t, tr, err, want) })
	return tr
}

func cutName(s string) string { return s[:min(len(s), 60)] }

func badMetadata(check string) expectation {
	return expectation{code: trace.InvalidClientMetadata, check: "registration." + check}
}

type set = map[string]any

// Covers: S1-083, S1-086, S1-092, S1-096, S1-097, case 105, case 106, case 112, case 113, case 114
func TestRegistrationParameters(t *testing.T) {
	for check, bad := range map[string][]set{
		"grant_types": {
			{"grant_types": udaptest.Absent}, {"grant_types": nil}, {
				"grant_types": "client_credentials",
			}, {"grant_types": []any{1}}, {"grant_types": []string{"implicit"}},
			{
				"grant_types": []string{"client_credentials", "authorization_code"},
			}, {"grant_types": []string{"refresh_token"}}, {
				"grant_types": []string{"client_credentials", "refresh_token"},
			},
			{
				"grant_types": []string{"client_credentials", "client_credentials"},
			}, {"grant_types": []string{"CLIENT_CREDENTIALS"}}, {"grant_types": map[string]any{}},
		},
		"client_name": {
			{"client_name": udaptest.Absent}, {"client_name": ""}, {"client_name": "  "}, {
				"client_name": strings.Repeat("x", 40_000),
			}, {"client_name": strings.Repeat("x", 201)},
			{"client_name": "a\r\nb"}, {
				"client_name": "a\x1b[31mb",
			}, {"client_name": "a\u0000"}, {"client_name": 1}, {"client_name": nil}, {
				"client_name": []string{"a"},
			},
			{"client_name": "\u200b"},
			{"client_name": "\u202e\u2066"},
			{"client_name": "\u3164 \u115f"},
			{"client_name": "\u2800"},
		},
		"token_endpoint_auth_method": {
			{"token_endpoint_auth_method": udaptest.Absent}, {"token_endpoint_auth_method": "none"}, {
				"token_endpoint_auth_method": "client_secret_basic",
			},
			{
				"token_endpoint_auth_method": "tls_client_auth",
			}, {"token_endpoint_auth_method": true}, {"token_endpoint_auth_method": nil},
		},
		"scope": {
			{
				"scope": udaptest.Absent,
			}, {"scope": ""}, {"scope": "a  b"}, {"scope": " a"}, {"scope": "a "}, {
				"scope": "a\u0000b",
			}, {"scope": "a\"b"}, {"scope": "a\\b"}, {"scope": "é"},
			{
				"scope": strings.Repeat("a ", 5000) + "a",
			}, {"scope": []string{"a"}}, {"scope": 1}, {"scope": nil}, {"scope": "a\tb"},
		},
		"contacts": {
			{"contacts": udaptest.Absent}, {"contacts": []string{}}, {"contacts": nil}, {
				"contacts": "mailto:a@b.test",
			}, {"contacts": []any{1}}, {
				"contacts": []string{"https://b.test/"},
			},
			{"contacts": []string{"mailto:"}}, {"contacts": []string{"mailto:a"}}, {
				"contacts": []string{"mailto:a@b.test?bcc=x@y.test"},
			}, {"contacts": []string{"mailto:a@b.test%0d%0aBcc:x"}},
			{
				"contacts": []string{"mailto:a@b.test", "javascript:alert(1)"},
			}, {"contacts": []string{"mailto:a@b.test", "mailto:<a@b.test>"}}, {"contacts": []string{"a@b.test"}},
			{"contacts": []string{"mailto:a@b.test", "tel:"}}, {
				"contacts": []string{"mailto:a@b.test", "tel:1;phone-context=x"},
			}, {
				"contacts": []string{"mailto:a@b.test", "tel:" + strings.Repeat("1", 41)},
			},
			{"contacts": many(2_000, "mailto:a@b.test")}, {"contacts": many(21, "mailto:a@b.test")}, {
				"contacts": []string{"mailto:a@b.test\r\nBcc: x"},
			},
		},
		"redirect_uris": {
			{"redirect_uris": []string{"https://client1.test/cb"}},
			{"redirect_uris": []string{}},
		},
		"response_types": {
			{"response_types": []string{"code"}},
			{"response_types": []string{}},
		},
		"logo_uri": {{"logo_uri": 1}, {"logo_uri": "http://client1.test/logo.png"}},
		"uris": {
			{"client_uri": 1}, {
				"client_uri": "ftp://client1.test/",
			}, {"tos_uri": []string{}}, {"policy_uri": "javascript:alert(1)"}, {
				"jwks_uri": "http://client1.test/jwks",
			},
			{"client_uri": ""}, {"tos_uri": "https://client1.test:99999/"},
		},
	} {
		t.Run(check, func(t *testing.T) {
			for _, s := range bad {
				checkParameters(t, false, s, badMetadata(check))
			}
		})
	}
}

func many(n int, s string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// Covers: S1-083, S1-122, S2-11, case 112, case 115, case 116
func TestRegistrationParametersAccepted(t *testing.T) {
	for _, s := range []set{
		{"client_name": "<script>alert(1)</script>"}, {"client_name": "{{.}}"}, {"client_name": "Zoë 株式会社"}, {
			"contacts": []string{"mailto:a.b+c@d.test", "tel:+1-555-0100", "https://d.test/help"},
		},
		{
			"client_uri": "https://client1.test/",
			"tos_uri":    "https://client1.test/tos?x=1",
			"policy_uri": "http://client1.test/p",
			"jwks_uri":   "https://client1.test/jwks",
		},
		{"logo_uri": "https://client1.test/a.png"},
		{
			"admin":                     true,
			"client_secret":             "x",
			"client_id":                 "y",
			"registration_access_token": "z",
			"__proto__":                 map[string]any{},
			`x":0,"admin`:               1,
		},
	} {
		checkParameters(t, false, s, expectation{})
	}

	tr := checkParameters(t, false, set{"client_name": "a\u202eb"}, expectation{})
	if len(tr.Warnings()) != 1 || strings.ContainsRune(tr.Warnings()[0].Found, '\u202e') {
		t.Errorf("a name that changes direction is told as %+v", tr.Warnings())
	}

	for _, extra := range []set{
		{},
		{
			"client_name":                udaptest.Absent,
			"contacts":                   udaptest.Absent,
			"scope":                      udaptest.Absent,
			"token_endpoint_auth_method": udaptest.Absent,
		},
	} {
		w, c := sharedEnv(t, "p256")
		claims := c.Statement(w.Now).With("grant_types", []string{})
		for k, v := range extra {
			claims = claims.With(k, v)
		}
		s, _, err := statement(w, c.Sign(t, claims))
		if err != nil || !s.Metadata.Cancels() {
			t.Errorf("to cancel with %v: %v", extra, err)
		}
	}
}

// Covers: S1-084, S1-085, S1-088, S1-090, S1-091, S1-093, S1-094, S1-095, S2-11, case 105, case 107, case 110
func TestInteractiveParameters(t *testing.T) {
	checkParameters(t, true, set{}, expectation{})
	checkParameters(t, true, set{"grant_types": []string{"authorization_code"}}, expectation{})
	for check, bad := range map[string][]set{
		"response_types": {
			{"response_types": udaptest.Absent}, {"response_types": []string{"token"}},
			{"response_types": []string{"code", "token"}},
			{"response_types": []string{"code id_token"}}, {"response_types": []string{}},
			{"response_types": "code"},
		},
		"redirect_uris": {
			{"redirect_uris": udaptest.Absent}, {"redirect_uris": []string{}},
			{"redirect_uris": nil}, {"redirect_uris": "https://client1.test/cb"},
			{"redirect_uris": []any{1}}, {"redirect_uris": many(51, "https://client1.test/cb")},
		},
		"logo_uri": {
			{"logo_uri": udaptest.Absent}, {"logo_uri": ""}, {"logo_uri": nil}, {
				"logo_uri": "http://client1.test/l.png",
			}, {
				"logo_uri": "https://client1.test/l.svg",
			}, {"logo_uri": "data:image/svg+xml,<svg/>"},
			{
				"logo_uri": "https://169.254.169.254/l.png",
			}, {"logo_uri": "https://127.0.0.1/l.png"}, {"logo_uri": "https://client1.test/l.html"}, {
				"logo_uri": []string{"https://client1.test/l.png"},
			}, {"logo_uri": "https://[::1]/l.png"},
		},
	} {
		t.Run(check, func(t *testing.T) {
			for _, s := range bad {
				checkParameters(t, true, s, badMetadata(check))
			}
		})
	}

	tr := checkParameters(t, true, set{"logo_uri": "https://client1.test/logo"}, expectation{})
	if len(tr.Warnings()) != 1 {
		t.Errorf("a logo of unknown kind: %+v", tr.Warnings())
	}
}

// Covers: S1-084, S2-11, case 108
func TestRedirectURIForms(t *testing.T) {
	bad := []string{
		"http://client1.test/cb", "myapp://cb", "javascript:alert(1)", "data:text/html,x", "//evil", "/cb", "cb", "", "https://client1.test/cb#f", "https://client1.test/cb#",
		"https://user@client1.test/cb", "https://user:p@client1.test/cb", "https:/client1.test/cb", "https:client1.test/cb", "https:///cb", "https://client1.test:0/cb", "https://client1.test:99999/cb", "https://client1.test:/cb",
		`https://good.test\@evil.test/cb`, "https://client1.test/a b", "https://client1.test/a\tb", "https://client1.test/a\rb", "https://client1.test/a\nb", "https://client1.test/a\u0000b",
		"https://*.example/cb", "https://client1.test/*", "https://192.0.2.1/cb", "https://[2001:db8::1]/cb", "https://127.0.0.1/cb", "https://localhost/cb", "https://0x7f.1/cb", "https://2130706433/cb", "https://0x7f000001/cb",
		"https://client1.test./cb", "https://сlient1.test/cb", "https://client1.test/a/../cb", "https://client1.test/a/./cb", "https://client1.test/%2e%2e/cb", "https://client1.test/a%2fb",
		"https://client1.test/" + strings.Repeat("a",
			10<<10), "https://client1.test/<x>", "https://-a.test/", "https://a..test/", "https://exa%6dple.test/", "HTTP://client1.test/cb", "http://localhost/cb",
		"https://[fe80::1%25eth0]/cb", "https://" + strings.Repeat("a.",
			127) + "test/cb", "https://" + strings.Repeat("a", 64) + ".test/cb",
	}
	for _, u := range bad {
		checkParameters(t, true, set{"redirect_uris": []string{u}}, expectation{
			code:  trace.InvalidRedirectURI,
			check: "registration.redirect_uris",
		})
		checkParameters(t, true, set{
			"redirect_uris": []string{"https://client1.test/ok", u},
		}, expectation{code: trace.InvalidRedirectURI})
	}

	checkParameters(t, true, set{
		"redirect_uris": []string{"https://client1.test/cb", "https://client1.test/cb"},
	}, expectation{code: trace.InvalidRedirectURI, says: "twice"})

	for _, u := range []string{
		"https://client1.test/cb", "https://client1.test",
		"https://client1.test:8443/cb?x=1&y=%20", "https://xn--80ak6aa92e.test/cb",
		"https://intranet/cb", "https://a-b.c1.test/a.b/c~d",
	} {
		checkParameters(t, true, set{"redirect_uris": []string{u}}, expectation{})
	}
}

// Covers: case 108
func TestLoopbackRedirects(t *testing.T) {
	w := udaptest.New(t, "p256")
	w.A.Community.Policy.AllowLoopbackRedirect = true
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)

	for uri, ok := range map[string]bool{
		"http://127.0.0.1:8080/cb": true, "http://localhost/cb": true, "http://[::1]:1/cb": true, "https://localhost/cb": true, "https://client1.test/cb": true,
		"http://client1.test/cb": false, "http://192.0.2.1/cb": false, "http://localhost.evil.test/cb": false, "http://0x7f.1/cb": false,
	} {
		t.Run(uri, func(t *testing.T) {
			_, _, err := statement(w, c.Sign(t, c.Interactive(w.Now).With("redirect_uris", []string{uri})))
			if (err == nil) != ok {
				t.Errorf("%s: %v", uri, err)
			}
		})
	}
}

func TestRequiredMetadata(t *testing.T) {
	w := udaptest.New(t, "p256")
	w.A.Community.Policy.RequiredMetadata = []string{"client_uri", "tos_uri"}
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now).With("client_uri", "https://client1.test/")))
	want := badMetadata("required")
	want.says = "tos_uri"
	expectRefusal(t, tr, err, want)
	if _, _, err = statement(w,
		c.Sign(t,
			c.Statement(w.Now).With("client_uri",
				"https://client1.test/").With("tos_uri", "https://client1.test/t"))); err != nil {
		t.Error(err)
	}

	for wrong, right := range map[string]string{
		"scopes":      "scope",
		"grant_type":  "grant_types",
		"Client_Name": "client_name",
	} {
		t.Run(wrong, func(t *testing.T) {
			good := c.Statement(w.Now)
			_, tr, err := statement(w, c.Sign(t, good.With(right, udaptest.Absent).With(wrong, good[right])))
			expectRefusal(t, tr, err, expectation{code: trace.InvalidClientMetadata, says: wrong})
		})
	}
}

// null stands for an absent value in every optional parameter, with a warning,
// and for nothing in one that the grant requires.
// Covers: S1-105
func TestNullParameters(t *testing.T) {
	optional := []string{"client_uri", "tos_uri", "policy_uri", "jwks_uri"}
	ofPeople := []string{"redirect_uris", "response_types", "logo_uri"}
	required := []string{"client_name", "contacts", "grant_types", "scope", "token_endpoint_auth_method"}

	for _, people := range []bool{false, true} {
		accepted, refused := slices.Concat(optional, ofPeople), required
		if people {
			accepted, refused = optional, slices.Concat(required, ofPeople)
		}

		for _, name := range accepted {
			tr := checkParameters(t, people, set{name: nil}, expectation{})
			if w := tr.Warnings(); len(w) != 1 || w[0].Found != name+": null" {
				t.Errorf("%s: warnings %+v", name, w)
			}
		}

		for _, name := range refused {
			tr := checkParameters(t, people, set{name: nil}, expectation{
				code: trace.InvalidClientMetadata,
				says: name + ": null",
			})
			if len(tr.Warnings()) != 0 {
				t.Errorf("%s: warnings %+v", name, tr.Warnings())
			}
		}
	}

	all := set{}
	for _, name := range slices.Concat(optional, ofPeople) {
		all[name] = nil
	}
	if tr := checkParameters(t, false, all, expectation{}); len(tr.Warnings()) != len(all) {
		t.Errorf("all at once: %d warnings, want %d", len(tr.Warnings()), len(all))
	}
}

// A parameter that a community demands is missing when it is null.
// Covers: S1-105
func TestRequiredMetadataIsNull(t *testing.T) {
	w := udaptest.New(t, "p256")
	w.A.Community.Policy.RequiredMetadata = []string{"client_uri"}
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now).With("client_uri", nil)))
	expectRefusal(t, tr, err, badMetadata("required"))
}
