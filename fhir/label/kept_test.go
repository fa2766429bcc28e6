package label_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/async/asyncenv"
)

// codes are the labels of a stored resource, in their order.
func codes(t *testing.T, e *asyncenv.Env, token, path string) string {
	t.Helper()
	var r struct {
		Meta struct {
			Security []struct {
				Code string `json:"code"`
			} `json:"security"`
		} `json:"meta"`
	}

	w := want(t, e.Do("GET", path, token, ""), 200)
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
		t.Fatal(err)
	}

	var all []string
	for _, c := range r.Meta.Security {
		all = append(all, c.Code)
	}
	return strings.Join(all, ",")
}

// transaction is a Bundle with one entry.
func transaction(method, url, resource string) string {
	return `{"resourceType":"Bundle","type":"transaction","entry":[{"resource":` + resource +
		`,"request":{"method":"` + method + `","url":"` + url + `"}}]}`
}

// Labels are kept by an update that brings none, and are lowered or removed only with a
// clearance to relabel, by every way of changing a resource.
//
// Covers: FS-706, FS-707, case 243
func TestLabelsAreKept(t *testing.T) {
	const asPatch = "application/json-patch+json"
	const before = "R,PSY,NORDSCLCD,HTEST"
	removal := `[{"op":"remove","path":"/meta/security"}]`
	lower := `[{"op":"replace","path":"/meta/security/0/code","value":"N"}]`
	raise := `[{"op":"replace","path":"/meta/security/0/code","value":"V"}]`
	more := `[{"op":"add","path":"/meta/security/-","value":{"system":"urn:x","code":"y"}}]`

	for _, c := range []struct {
		name, method, path, media, body string
		relabels                        string // with a clearance to relabel; "" for as without
		status                          int
		want                            string // without one
	}{
		{"without labels", "PUT", "/Observation/o", "", observation("o", "-"), "", 200, before},
		{"the same labels", "PUT", "/Observation/o", "", observation("o", before), "", 200, before},
		{"in another order", "PUT", "/Observation/o", "", observation("o", "HTEST,NORDSCLCD,PSY,R"), "", 200,
			"HTEST,NORDSCLCD,PSY,R"},
		{"one more", "PUT", "/Observation/o", "", observation("o", before+",ETH"), "", 200, before + ",ETH"},
		{"lower", "PUT", "/Observation/o", "", observation("o", "N,PSY,NORDSCLCD,HTEST"), "N,PSY,NORDSCLCD,HTEST",
			403, before},
		{"without the sensitivity", "PUT", "/Observation/o", "", observation("o", "R,NORDSCLCD,HTEST"),
			"R,NORDSCLCD,HTEST", 403, before},
		{"without the instruction", "PUT", "/Observation/o", "", observation("o", "R,PSY,HTEST"), "R,PSY,HTEST", 403,
			before},
		{"conditional, without labels", "PUT", "/Observation?_id=o", "", observation("o", "-"), "", 200, before},
		{"conditional, lower", "PUT", "/Observation?_id=o", "", observation("o", "N"), "N", 403, before},
		{"patch, removed", "PATCH", "/Observation/o", asPatch, removal, "", 403, before},
		{"patch, lower", "PATCH", "/Observation/o", asPatch, lower, "N,PSY,NORDSCLCD,HTEST", 403, before},
		{"patch, one more", "PATCH", "/Observation/o", asPatch, more, before + ",y", 200, before + ",y"},
		{
			"conditional patch, lower", "PATCH", "/Observation?_id=o", asPatch, lower,
			"N,PSY,NORDSCLCD,HTEST", 403, before,
		},
		{"transaction, without labels", "POST", "", "", transaction("PUT", "Observation/o", observation("o", "-")), "",
			200, before},
		{
			"transaction, lower", "POST", "", "",
			transaction("PUT", "Observation/o", observation("o", "N")), "N", 403, before,
		},
		{"another patch, higher", "PATCH", "/Observation/o", asPatch, raise, "", 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, token := range []string{cleared, labeller} {
				e := newEnv(t, policy())
				put(t, e, patient)
				put(t, e, observation("o", before))

				var header []string
				if c.media != "" {
					header = []string{"Content-Type", c.media}
				}
				w := e.Do(c.method, c.path, token, c.body, header...)
				status, labels := c.status, c.want
				if token == labeller && status == 403 {
					status, labels = 200, c.relabels
				}

				if w.Code != status {
					t.Fatalf("%s: %d, want %d: %s", token, w.Code, status, w.Body)
				}
				if status == 403 && !e.Traced(w.Header().Get("Trace-Id"), "access.relabel") {
					t.Error("the refusal has no trace")
				}
				if c.name == "another patch, higher" { // it is above what the client may read now
					want(t, e.Do("GET", "/Observation/o", token, ""), http.StatusNotFound)
					return
				}

				if got := codes(t, e, token, "/Observation/o"); got != labels {
					t.Errorf("%s: labels %q, want %q", token, got, labels)
				}
			}
		})
	}
}

// A label never widens what a token reaches, and whoever may write may write what it
// may not read afterwards. What is kept reaches the index as well.
//
// Covers: FS-707, case 243
func TestWritingUp(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	w := e.Do("POST", "/Observation", uncleared, observation("o", "R"))
	want(t, w, 201)
	path := strings.TrimPrefix(w.Header().Get("Location"), asyncenv.Base)
	path, _, _ = strings.Cut(path, "/_history")
	want(t, e.Do("GET", path, uncleared, ""), 404)
	want(t, e.Do("GET", path, cleared, ""), 200)

	put(t, e, observation("x", "R"))
	put(t, e, observation("x", "-"))
	if found := follow(t, e, "/Observation", uncleared); len(found) != 0 {
		t.Errorf("found %v", found)
	}

	mine := "patient/*.cruds; patient=q"
	put(t, e, strings.ReplaceAll(patient, `"p"`, `"q"`))
	want(t, e.Do("POST", "/Observation", mine, observation("o", "U")), 403)
	want(t, e.Do("GET", "/Patient/p", mine, ""), 404)
}

// A part of a resource is never stored in the place of the whole.
//
// Covers: FS-705
func TestPartsAreNotStored(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, observation("o", "-"))
	const values = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"

	for _, code := range []string{"REDACTED", "MASKED", "SUBSETTED"} {
		t.Run(code, func(t *testing.T) {
			body := strings.Replace(observation("o", "-"), `"status"`, `"meta":{"security":[{"system":"`+values+
				`","code":"`+code+`"}]},"status"`, 1)
			patch := `[{"op":"add","path":"/meta/security","value":[{"system":"` + values + `","code":"` + code +
				`"}]}]`
			for _, w := range []int{
				e.Do("PUT", "/Observation/o", cleared, body).Code,
				e.Do("PUT", "/Observation?_id=o", cleared, body).Code,
				e.Do("POST", "", cleared, transaction("PUT", "Observation/o", body)).Code,
				e.Do("PATCH", "/Observation/o", cleared, patch, "Content-Type", "application/json-patch+json").Code,
			} {
				if w != http.StatusUnprocessableEntity {
					t.Errorf("%d, want 422", w)
				}
			}
		})
	}
}
