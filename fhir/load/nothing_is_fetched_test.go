package load_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"fhirdest.example/fhir/async/asyncenv"
)

// canary is a server that nobody may connect to.
func canary(t *testing.T) (url string, connections *atomic.Int64) {
	t.Helper()
	connections = &atomic.Int64{}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}

	s.Start()
	t.Cleanup(s.Close)
	return s.URL, connections
}

// Whatever a resource or request names by its URL, the server does not go there:
// not when it is stored, validated, read, searched, shown or matched.
//
// Covers: FS-606
func TestNothingIsFetched(t *testing.T) {
	url, connections := canary(t)
	e := newEnv(t)
	in := func(text string) string { return strings.ReplaceAll(text, "$U", url) }
	resources := map[string]string{
		"DocumentReference": `"status":"current","content":[{"attachment":{"contentType":"text/plain","url":"$U/a","size":4,"hash":"AAAA"}}]`,
		"Patient":           `"meta":{"profile":["$U/profile"],"source":"$U/source"},"photo":[{"url":"$U/photo"}],"managingOrganization":{"reference":"$U/Organization/1"}`,
		"Basic":             `"implicitRules":"$U/rules","code":{"coding":[{"system":"$U/system","code":"x"}]},"extension":[{"url":"$U/extension","valueUrl":"$U/value"}]`,
		"Questionnaire":     `"status":"draft","url":"$U/Questionnaire/1","derivedFrom":["$U/Questionnaire/2"]`,
		"Binary":            `"contentType":"text/plain","securityContext":{"reference":"$U/Patient/1"}`,
		"Subscription":      `"status":"requested","reason":"x","criteria":"Patient","channel":{"type":"rest-hook","endpoint":"$U/hook"}`,
		"Endpoint":          `"status":"active","connectionType":{"code":"x"},"payloadType":[{"text":"x"}],"address":"$U/endpoint"`,
	}

	for typ, members := range resources {
		body := in(`{"resourceType":"` + typ + `","id":"x",` + members + `}`)
		e.Do("PUT", "/"+typ+"/x", asyncenv.All, body)
		e.Do("POST", "/"+typ+"/$validate?profile="+in("$U/profile"), asyncenv.All, body)
		e.Do("POST", "", asyncenv.All, `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"`+url+
			`/`+typ+`/x","resource":`+body+`,"request":{"method":"PUT","url":"`+typ+`/x"}}]}`)
		imported(t, e, asyncenv.All, body)

		for _, path := range []string{
			"/" + typ + "/x",
			"/" + typ + "/x?_format=html",
			"/" + typ + "?_include=*",
			"/" + typ + "/x/_history",
		} {
			e.Do("GET", path, asyncenv.All, "")
		}
	}

	for _, path := range []string{
		"/Patient?organization=$U/Organization/1",
		"/Patient?organization:Organization.name=x",
		"/Patient?_profile=$U/profile",
		"/Patient/x/$everything",
		"/DocumentReference/x?_format=xml",
	} {
		e.Do("GET", in(path), asyncenv.All, "")
	}

	if w := e.Do("GET", "/DocumentReference/x", asyncenv.All, ""); w.Code != 200 ||
		!strings.Contains(w.Body.String(), url) {
		t.Errorf("the resource is not stored with its URL: %d %s", w.Code, w.Body)
	}
	if n := connections.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}

	res, err := http.Get(url) // the canary is alive
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if connections.Load() == 0 {
		t.Error("the canary does not count")
	}
}
