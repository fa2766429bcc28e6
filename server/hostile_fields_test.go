package server_test

import (
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// Fields that are oversized, malformed or nonsense are refused, or ignored as HTTP has
// it; none makes the server fail, and none comes back in a header.
//
// Covers: FS-905
func TestHostileFieldsOfRequests(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Writable = true })
	token := "Bearer " + d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.cruds").Token.Access
	const patient = `{"resourceType":"Patient","id":"fields","name":[{"family":"HTEST"}]}`
	long := strings.Repeat("identifier=a&", 4000)
	for name, c := range map[string]struct {
		method, path, field, value string
		want                       []int
	}{
		"huge If-None-Exist": {"POST", "/Patient", "If-None-Exist", long, []int{400}},
		"If-None-Exist of values": {
			"POST", "/Patient", "If-None-Exist", "name=" + strings.Repeat("a,", 20_000),
			[]int{400},
		},
		"If-None-Exist, escapes": {"POST", "/Patient", "If-None-Exist", "identifier=%0d%0aX:%20y", []int{400}},
		"If-None-Exist, a URL": {
			"POST", "/Patient", "If-None-Exist", "https://evil.example/Patient?x=y", []int{400},
		},
		"If-None-Exist, nothing": {"POST", "/Patient", "If-None-Exist", "?", []int{400, 412}},
		"Prefer, garbage":        {"PUT", "/Patient/fields", "Prefer", `;;,=" return="x`, []int{200, 201, 400}},
		"Prefer, huge": {
			"PUT", "/Patient/fields", "Prefer", strings.Repeat("return=none,", 4000),
			[]int{200, 201, 400},
		},
		"Prefer, unknown": {
			"PUT", "/Patient/fields", "Prefer", "return=everything; handling=magic",
			[]int{200, 201},
		},
		"If-Match, no tag": {"PUT", "/Patient/fields", "If-Match", "999", []int{400, 412}},
		"If-Match, huge": {
			"PUT", "/Patient/fields", "If-Match", strings.Repeat(`W/"0",`, 8000), []int{400, 412},
		},
		"If-Match, overflow": {
			"PUT", "/Patient/fields", "If-Match", `W/"99999999999999999999999"`, []int{400, 412},
		},
		"If-Modified-Since": {"GET", "/Patient/fields", "If-Modified-Since", "yesterday", []int{200, 400}},
		"Accept, garbage":   {"GET", "/Patient/fields", "Accept", ";q=x/,,/", []int{200, 400, 406}},
		"Accept, huge": {
			"GET", "/Patient/fields", "Accept", strings.Repeat("a/b;q=0.1,", 5000),
			[]int{400, 406},
		},
		"Content-Type, garbage": {"PUT", "/Patient/fields", "Content-Type", ";;charset=\"", []int{400, 415}},
		"X-Request-Id, huge":    {"GET", "/Patient/fields", "X-Request-Id", strings.Repeat("x", 40_000), []int{200}},
		"X-Provenance, garbage": {"PUT", "/Patient/fields", "X-Provenance", "{{{", []int{200, 201, 400, 422}},
		"Range, garbage":        {"GET", "/Patient/fields", "Range", "bytes=-1-2,x", []int{200, 416}},
		"DPoP, garbage":         {"GET", "/Patient/fields", "DPoP", "a.b.c", []int{200, 401}},
		"Origin, garbage":       {"GET", "/Patient/fields", "Origin", "\"><script>", []int{200}},
	} {
		t.Run(name, func(t *testing.T) {
			d.Do("PUT", "/acme/fhir/Patient/fields", strings.NewReader(patient), "Authorization", token, "Content-Type",
				"application/fhir+json")
			header := []string{"Authorization", token, c.field, c.value}
			if c.field != "Content-Type" {
				header = append(header, "Content-Type", "application/fhir+json")
			}

			res := d.Do(c.method, "/acme/fhir"+c.path, strings.NewReader(patient), header...)
			ok := false
			for _, status := range c.want {
				ok = ok || res.StatusCode == status
			}
			if !ok {
				t.Errorf("%d, want one of %v", res.StatusCode, c.want)
			}

			for field, values := range res.Header {
				if text := strings.Join(values, ","); len(text) > 1000 || strings.Contains(text, "script") ||
					strings.Contains(text, "evil") {
					t.Errorf("%s: %.200s", field, text)
				}
			}
		})
	}

	for _, raw := range []string{
		"GET /acme/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\nX-Request-Id: a\rX-Evil: b\r\n\r\n",
		"GET /acme/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\nPrefer: a\n X-Evil: b\r\n\r\n",
		"GET /acme/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\nPrefer: a\x00b\r\n\r\n",
		"GET /acme/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\nPre fer: a\r\n\r\n",
	} {
		if text := d.Raw(raw); status(t, text) != 400 || strings.Contains(text, "X-Evil") {
			t.Errorf("%q: %s", raw, text)
		}
	}
}
