package label_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/export"
)

// exporting is an environment whose service exports.
func exporting(e *asyncenv.Env) {
	e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
		return map[string]async.Kind{"$export": export.New(export.Config{
			PublicBase: asyncenv.Base,
			Store:      e.Store,
			Service:    e.Service,
		})}
	}
}

// exported returns the text of all files of an export.
func exported(t *testing.T, e *asyncenv.Env, path, token string) string {
	t.Helper()
	at := e.Begin("GET", path, token, "")
	type file struct {
		URL string `json:"url"`
	}
	var m struct {
		Output []file `json:"output"`
		Error  []file `json:"error"`
	}
	if err := json.Unmarshal(want(t, e.Wait(at, token), 200).Body.Bytes(), &m); err != nil {
		t.Fatal(err)
	}

	text := ""
	for _, f := range append(m.Output, m.Error...) {
		text += want(t, e.Do("GET", f.URL, token, ""), 200).Body.String()
	}
	return text
}

// Exports have no more than reads do, and are not filtered by what is masked.
//
// Covers: FS-302, FS-305, FS-705
func TestMaskedInExports(t *testing.T) {
	e := newEnv(t, masking(), exporting)
	put(t, e, whole)
	put(t, e, patient)

	text := exported(t, e, "/$export?_type=Patient", uncleared)
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s is exported: %s", secret, text)
		}
	}
	if !strings.Contains(text, `"code":"REDACTED"`) {
		t.Errorf("not marked: %s", text)
	}
	if text := exported(t, e, "/$export?_type=Patient", cleared); !strings.Contains(text, "Elmtown") {
		t.Errorf("with a clearance: %s", text)
	}

	const filtered = "/$export?_type=Patient&_typeFilter=Patient?birthdate=1980-01-01"
	if text := exported(t, e, filtered, uncleared); !strings.Contains(text, `"id":"m"`) ||
		!strings.Contains(text, "birthdate") {
		t.Errorf("filtered by what is masked: %s", text)
	}
	if text := exported(t, e, filtered, cleared); strings.Contains(text, `"id":"m"`) {
		t.Errorf("with a clearance: %s", text)
	}
}

// Nobody finds out by $match what is masked: right and wrong guesses have one answer.
//
// Covers: FS-305
func TestMaskedIsNotMatched(t *testing.T) {
	e := newEnv(t, masking())
	put(t, e, whole)
	match := func(token, born, city string) string {
		t.Helper()
		w := e.Do("POST", "/Patient/$match", token, `{"resourceType":"Parameters","parameter":[{"name":"resource",`+
			`"resource":{"resourceType":"Patient","name":[{"family":"Doe","given":["Jane"]}],"gender":"female",`+
			`"birthDate":"`+born+`","address":[{"use":"home","line":["1 Elm"],"city":"`+city+`","postalCode":"12345"}],`+
			`"telecom":[{"system":"phone","value":"555-1"},{"system":"email","value":"jane@elm.test"}]}}]}`)
		return want(t, w, 200).Body.String()
	}

	const scopes = "system/Patient.$match system/Patient.rs"
	right, wrong := match(scopes, "1970-05-05", "Elmtown"), match(scopes, "1999-01-01", "Elsewhere")
	if right != wrong || strings.Contains(right, "1970-05-05") {
		t.Errorf("the right guess: %s\nthe wrong one: %s", right, wrong)
	}

	free := scopes + "; party=https://cleared.test; purpose=" + treatment
	if found := match(free, "1970-05-05", "Elmtown"); !strings.Contains(found, `"id":"m"`) {
		t.Errorf("with a clearance: %s", found)
	}
}
