package oauth_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// A token is stored with the validated members of hl7-b2b and no others, however
// many came; introspection shows the same.
//
// Covers: S2-22, case 159, case 160, case 228
func TestOnlyValidatedContextIsStored(t *testing.T) {
	const want = `{"version":"1","organization_id":"https://org.test/1",` +
		`"purpose_of_use":["urn:oid:2.16.840.1.113883.5.8#TREAT"]}`
	minimal := map[string]any{
		"version":         "1",
		"organization_id": "https://org.test/1",
		"purpose_of_use":  []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
	}

	for _, row := range []struct {
		name   string
		extra  map[string]any
		warned bool
	}{
		{"as it must be", nil, false},
		{"one unknown member", map[string]any{"junk": "junkvalue"}, true},
		{"48 KB of unknown members", manyMembers(1000, 40), true},
		{"one of 48 KB", map[string]any{"junk": strings.Repeat("junkvalue", 5000)}, true},
		{"a deep one", map[string]any{"junk": map[string]any{"a": []any{map[string]any{"b": "junkvalue"}}}}, true},
		{"another case", map[string]any{"Purpose_Of_Use": []string{"junkvalue"}}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, c, id := clientEnv(t)
			b2b := map[string]any{}
			for _, members := range []map[string]any{minimal, row.extra} {
				for name, value := range members {
					b2b[name] = value
				}
			}

			a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", map[string]any{udap.B2BKey: b2b}))
			if row.name == "another case" && a.status == 400 {
				return // a case variant of a member is refused by the strict reader of JSON
			}

			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if got := warned(e.lastTrace(), "b2b.object"); got != row.warned {
				t.Errorf("warned %v, want %v", got, row.warned)
			}

			token := a.text("access_token")
			access, err := e.bearer(token)
			if err != nil || string(access.Extensions[udap.B2BKey]) != want {
				t.Errorf("stored %s, %v", access.Extensions[udap.B2BKey], err)
			}
			if shown := e.tell("/oauth/introspect", c, id, token); !strings.Contains(string(shown.body), want) ||
				strings.Contains(string(shown.body), "junk") {
				t.Errorf("shown: %.300s", shown.body)
			}

			if strings.Contains(e.dump(), "junkvalue") {
				t.Error("an unknown member is in the file")
			}
		})
	}
}

func manyMembers(n, size int) map[string]any {
	out := map[string]any{}
	for i := range n {
		out[fmt.Sprintf("junk%d", i)] = "junkvalue" + strings.Repeat("x", size-9)
	}
	return out
}

// All that may be stored of one object is bounded as well.
//
// Covers: S2-22, case 228
func TestLargeContextIsRefused(t *testing.T) {
	e, c, id := clientEnv(t)
	b2b := udaptest.B2B()
	var references []string
	for i := range 20 {
		references = append(references, fmt.Sprintf("https://a.test/Consent/%s-%d", strings.Repeat("x", 500), i))
	}
	b2b["consent_policy"], b2b["consent_reference"] = []string{"urn:policy"}, references

	e.refused("10 KB of references", 400, "invalid_grant", spendsJTI, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()).With("extensions", map[string]any{udap.B2BKey: b2b}))
	})
	if tr := e.lastTrace(); tr.Steps[len(tr.Steps)-1].Verdict != trace.Refused {
		t.Errorf("%+v", tr.Steps)
	}

	b2b["consent_reference"] = references[:2]
	if a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", map[string]any{
		udap.B2BKey: b2b,
	})); a.status != 200 {
		t.Errorf("two references: %d %s", a.status, a.body)
	}
}

// user returns an hl7-b2b-user object with particulars that are not stored.
func user() map[string]any {
	return map[string]any{
		"version":        "1",
		"purpose_of_use": []string{"urn:oid:2.16.840.1.113883.5.8#PATRQT"},
		"consent_policy": []string{"urn:oid:1.2.3"},
		"user_person": map[string]any{
			"resourceType": "Person",
			"birthDate":    "1974-12-25",
			"identifier":   []any{map[string]any{"system": "urn:oid:1.2", "value": "7"}},
			"name":         []any{map[string]any{"family": "Chalmers", "given": []string{"Peter"}}},
			"telecom": []any{
				map[string]any{"system": "phone", "value": "+15550100"},
				map[string]any{"system": "email", "value": "peter@example.org"},
			},
		},
	}
}

// The person on whose behalf a business asks is stored by name and identifier,
// shown at introspection, and required where the community's policy has that.
//
// Covers: S1-028, S1-032, S2-22, case 159, case 228
func TestAssertedUserIsStored(t *testing.T) {
	const want = `{"version":"1","purpose_of_use":["urn:oid:2.16.840.1.113883.5.8#PATRQT"],` +
		`"user_person":{"resourceType":"Person","identifier":[{"system":"urn:oid:1.2","value":"7"}],` +
		`"name":[{"family":"Chalmers","given":["Peter"]}]},"consent_policy":["urn:oid:1.2.3"]}`
	e := newMetadataEnv(t, func(w *udaptest.Env, c *oauth.Config) {
		c.Resources = func([]byte) error { return nil }
		w.A.Community.Policy.B2BUser = udap.UserRequired
		w.B.Community.Policy.B2BUser = udap.UserOff
	})
	for _, row := range []struct {
		community       trace.CommunityURI
		hierarchy       *udaptest.Hierarchy
		supported, must string
		stored          bool
	}{
		{udaptest.CommunityA, e.w.A, `["hl7-b2b","hl7-b2b-user"]`, `["hl7-b2b","hl7-b2b-user"]`, true},
		{udaptest.CommunityB, e.w.B, `["hl7-b2b"]`, `["hl7-b2b"]`, false},
	} {
		t.Run(string(row.community), func(t *testing.T) {
			document := e.metadata(row.community)
			supported, _ := json.Marshal(document.member("udap_authorization_extensions_supported"))
			must, _ := json.Marshal(document.member("udap_authorization_extensions_required"))
			if string(supported) != row.supported || string(must) != row.must {
				t.Errorf("metadata: supported %s, required %s", supported, must)
			}

			c := e.client(row.hierarchy, udaptest.Client1URI)
			id := e.registered(c)
			extensions := map[string]any{udap.B2BKey: udaptest.B2B()}
			if row.stored {
				e.refused("no user", 400, "invalid_grant", spendsJTI, func() answer {
					return e.token(c, udaptest.Assertion(id, e.now()).With("extensions", extensions))
				})
			}

			extensions[udap.B2BUserKey] = user()
			a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", extensions))
			if a.status != 200 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if got := warned(e.lastTrace(), "token.extension"); got == row.stored {
				t.Errorf("warned that the object is left out: %v", got)
			}

			shown := e.tell("/oauth/introspect", c, id, a.text("access_token"))
			if strings.Contains(string(shown.body), want) != row.stored ||
				strings.Contains(e.dump(), "1974-12-25") || strings.Contains(e.dump(), "peter@") {
				t.Errorf("shown: %s", shown.body)
			}
		})
	}
}
