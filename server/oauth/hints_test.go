package oauth_test

import (
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/udaptest"
)

// A client of another profile is told which one this server speaks.
//
// Covers: S1-102, S1-171, S1-209, case 139, case 140
func TestHintsForOtherProfiles(t *testing.T) {
	e, c, id := clientEnv(t)
	alg := jose.AlgorithmFor(c.Key.Public())
	smart := udaptest.Assertion(id, e.now()).With("extensions", udaptest.Absent)
	withKeyID := udaptest.Raw{
		Alg: alg,
		Key: c.Key,
	}.Sign(t, []byte(`{"alg":"`+alg+`","typ":"JWT","kid":"k1"}`), smart.JSON(t))
	form := func(assertion string, udap string) url.Values {
		f := e.form(assertion)
		set(f, []string{"udap", udap})
		return f
	}

	for _, row := range []struct {
		name, path, body, code string
		hints                  []string
	}{
		{"SMART Backend Services", "/oauth/token", form(withKeyID, "-").Encode(), "invalid_request",
			[]string{"found no udap", "SMART Backend Services", "udap=1", "x5c", "register"}},
		{"udap without a value", "/oauth/token", form(withKeyID, "").Encode(), "invalid_request",
			[]string{"SMART Backend Services", "udap=1"}},
		{"udap and a key identifier", "/oauth/token", form(withKeyID, "1").Encode(), "invalid_client",
			[]string{"x5c"}},
		{"plain dynamic registration", "/oauth/register", `{"client_name":"x","jwks_uri":"https://a.test/jwks"}`,
			"invalid_client_metadata", []string{"no software_statement", "signed software statement"}},
		{"client secret", "/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"x"},
			"client_secret": {"y"}}.Encode(), "invalid_request", []string{"udap=1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			kind := formType
			if row.path == "/oauth/register" {
				kind = jsonType
			}
			a := e.refused(row.name, 400, row.code, spendsNothing, func() answer {
				return e.send("POST", row.path, kind, row.body, nil)
			})

			for _, hint := range row.hints {
				if !strings.Contains(a.text("error_description"), hint) {
					t.Errorf("no %q in %s", hint, a.body)
				}
			}
		})
	}
}
