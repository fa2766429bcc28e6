package server_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// chance is what differs between two answers to the same request anyway: dates, ids of
// traces, random values, signatures, and the port of the console.
var chance = regexp.MustCompile(`(?m)^Date: .*$|` +
	`[0-9a-f]{24,}|` +
	`eyJ[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|` +
	`[A-Za-z0-9_-]{40,}|` +
	`\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)|` +
	`127\.0\.0\.1:\d+`)

// everything are requests to everything that a destination answers, right and wrong ones.
func everything() (all []string) {
	const form = "Content-Type: application/x-www-form-urlencoded\r\n"
	get := func(method, target, fields string) {
		all = append(all, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: fhir.test\r\nConnection: close\r\n%s\r\n",
			method, target, fields))
	}
	post := func(target, fields, body string) {
		get("POST", target, fmt.Sprintf("%sContent-Length: %d\r\n", fields, len(body)))
		all[len(all)-1] += body
	}

	for _, path := range []string{
		"/acme/fhir/.well-known/udap", "/acme/fhir/.well-known/udap?community=urn:none",
		"/acme/fhir/.well-known/smart-configuration", "/acme/fhir/metadata", "/acme/fhir", "/acme/fhir/",
		"/acme/fhir/Patient", "/acme/fhir/Patient/1", "/acme/fhir//Patient", "/acme/fhir/None/1",
		"/.well-known/oauth-authorization-server/acme/oauth", "/acme/oauth/.well-known/openid-configuration",
		"/acme/oauth/register", "/acme/oauth/token", "/acme/oauth/introspect", "/acme/oauth/revoke",
		"/acme/oauth/userinfo", "/acme/oauth/jwks", "/acme/oauth/authorize", "/acme/oauth/signin",
		"/acme/oauth/consent", "/acme/oauth/grants", "/acme/oauth/none", "/acme", "/acme/lab", "/acme/none", "/",
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT"} {
			get(method, path, "Origin: https://app.test\r\n")
		}
		get("GET", path, "Authorization: Bearer none\r\n")
		post(path, form, "grant_type=client_credentials&udap=1&client_assertion=x")
		post(path, "Content-Type: application/json\r\n", `{"software_statement":"x","udap":"1"`)
	}

	const start = "POST /acme/oauth/token HTTP/1.1\r\nHost: fhir.test\r\n" + form
	return append(all,
		start+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		start+"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
		start+"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nx\r\n",
		start+"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\na=b",
		"GET https://fhir.test/acme/fhir/metadata HTTP/1.1\r\nHost: fhir.test\r\nConnection: close\r\n\r\n",
		"GET /acme/fhir/metadata HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n",
		"GET /acme/fhir/%zz HTTP/1.1\r\nHost: fhir.test\r\n\r\n",
		"GET /acme/fhir/metadata HTTP/2.7\r\nHost: fhir.test\r\n\r\n",
		"NONE\r\n\r\n",
		"GET /acme/oauth/jwks HTTP/1.1\r\nHost: fhir.test\r\n\r\nGET /acme/none HTTP/1.1\r\nHost: fhir.test\r\n"+
			"Connection: close\r\n\r\n",
	)
}

// With the lab on, the destination's own answers differ by no byte, though each is
// captured.
func TestTheLabChangesNoByte(t *testing.T) {
	w := servertest.NewEnv(t)
	servertest.OnFiles("two destinations, each with its own")(w)
	run := func(data string) (answers []string) {
		w.Config.Data = data
		d := w.Start(w.Listen())
		defer d.Stop()

		for _, text := range everything() {
			answers = append(answers, chance.ReplaceAllString(d.Raw(text), "…"))
		}
		if w.Config.Lab != nil {
			kept := d.Plain().Kept()
			if n := len(kept); n < len(answers)/2 {
				t.Errorf("%d of %d exchanges are captured", n, len(answers))
			}
		}

		return answers
	}

	without := run("without")
	servertest.Lab(w)
	with := run("with")

	for i, text := range everything() {
		if without[i] != with[i] {
			t.Errorf("%s\nanswered without the lab\n%s\nand with it\n%s",
				strings.SplitN(text, "\r\n\r\n", 2)[0], without[i], with[i])
		}
	}
}
