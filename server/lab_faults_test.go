package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fault/answer"
)

// faultyLab is a destination with a lab that has every fault, and a clock that tests
// move.
func faultyLab(t *testing.T) (d *servertest.Destination, later func(time.Duration)) {
	t.Helper()
	var moved atomic.Int64
	d = servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Now = func() time.Time { return time.Now().Add(time.Duration(moved.Load())) }
		w.Config.Lab.Faulty = "127.0.0.1:0"
		w.Config.Lab.FaultyAuthority = &lab.AuthoritySettings{
			Chain: "tls-ca.pem",
			Key:   "tls-ca.key",
		}
		w.WriteIdentity("tls-ca", &certs.Identity{
			Chain: w.TLS.Chain(w.TLS.Cert)[:1],
			Key:   w.TLS.Key,
		})
	})
	return d, func(by time.Duration) { moved.Add(int64(by)) }
}

// entry is a fault as programs see it.
type entry struct {
	Name    string          `json:"name"`
	Base    string          `json:"base"`
	Chosen  bool            `json:"chosen"`
	Outcome *answer.Outcome `json:"outcome"`
}

// faults are the faults of a session, by name.
func faults(t *testing.T, s *servertest.LabSession) map[string]entry {
	t.Helper()
	var all struct {
		Faults []entry `json:"faults"`
	}
	s.API("GET", "faults", nil, http.StatusOK, &all)
	out := map[string]entry{}
	for _, e := range all.Faults {
		out[e.Name] = e
	}
	return out
}

// expectVerdict waits until a session has a verdict: an exchange is there a little
// after its client has the answer.
func expectVerdict(t *testing.T, s *servertest.LabSession, name string, want answer.Verdict) {
	t.Helper()
	s.Eventually(name+" "+string(want), func() bool {
		e := faults(t, s)[name]
		return e.Outcome != nil && e.Outcome.Verdict == want && e.Outcome.Text != ""
	})
}

// A session whose metadata has a fault shows whether its client noticed: after the
// fault's time, or at once when it goes on.
func TestSessionWithAFault(t *testing.T) {
	const name = "metadata-other-community"
	d, later := faultyLab(t)
	s := d.OpenLab(lab.OpenRequest{Faults: []string{name}})
	expectVerdict(t, s, name, answer.NotSeen)

	o := s.Destination.Originator(d.A, d.Client(d.A, "https://client.test/a"))
	if _, err := o.Discover(context.Background()); err == nil {
		t.Fatal("the originator believes another community")
	}
	expectVerdict(t, s, name, answer.Waiting)
	later(time.Minute)
	expectVerdict(t, s, name, answer.Noticed)

	d.Get(s.Session.Base + "/.well-known/udap")
	d.Do("POST", s.Session.Issuer+"/register", strings.NewReader("{}"), "Content-Type", "application/json").Body.Close()
	expectVerdict(t, s, name, answer.Ignored)

	var report struct {
		Faults []struct {
			Name    string `json:"name"`
			Outcome string `json:"outcome"`
		} `json:"faults"`
	}
	s.API("GET", "report.json", nil, http.StatusOK, &report)
	if got := fmt.Sprint(report.Faults); got != "[{metadata-other-community ignored}]" {
		t.Errorf("the report has %s", got)
	}
}

// A fault for one answer is no longer chosen once an answer had it; further answers,
// other sessions, and the destination itself have none.
func TestFaultForOneAnswer(t *testing.T) {
	d, _ := faultyLab(t)
	s, other := d.OpenLab(lab.OpenRequest{}), d.OpenLab(lab.OpenRequest{})
	s.API("POST", "faults", map[string][]string{"faults": {"fhir-503"}}, http.StatusOK, nil)
	o := s.Destination.Session(d.A, d.Client(d.A, "https://client.test/a"), "system/Patient.rs")

	for i, want := range []int{503, 200} {
		got, err := o.Client.Get(context.Background(), "Patient", o.Token.Access)
		if got.Reply == nil || got.Reply.Status != want {
			t.Errorf("read %d: %+v, %v", i, got.Reply, err)
		}
	}

	if faults(t, s)["fhir-503"].Chosen {
		t.Error("the fault is still chosen")
	}
	expectVerdict(t, s, "fhir-503", answer.Ignored)

	s.API("POST", "faults", map[string][]string{"faults": {"metadata-html"}}, http.StatusOK, nil)
	for _, base := range []string{other.Session.Base, d.Base} {
		res, body := d.Get(base + "/.well-known/udap")
		if res.StatusCode != 200 || !strings.Contains(body, "signed_metadata") {
			t.Errorf("%s: %s %.100s", base, res.Status, body)
		}
	}

	if _, body := d.Get(s.Session.Base + "/.well-known/udap"); !strings.Contains(body, "It works!") {
		t.Errorf("the session with the fault answers %.100s", body)
	}
}

// Each fault of TLS has a base of its own, under which a session sees who ends the
// handshake and who goes on.
func TestFaultsOfTLSInASession(t *testing.T) {
	d, _ := faultyLab(t)
	s := d.OpenLab(lab.OpenRequest{Faults: []string{"tls-expired", "tls-missing-intermediate"}})
	all := faults(t, s)

	for _, name := range []string{"tls-expired", "tls-missing-intermediate"} {
		base := all[name].Base
		at := strings.TrimPrefix(base[:strings.Index(base, "/acme")], "https://fhir.test")
		o := s.DialedAt("127.0.0.1"+at, d.A, d.Client(d.A, "https://client.test/a"))
		if _, err := o.Discover(context.Background()); err == nil {
			t.Fatalf("%s: the originator goes on", name)
		}
		expectVerdict(t, s, name, answer.Noticed)

		believing := d.HTTPClient("127.0.0.1" + at)
		believing.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		res, err := believing.Get(base + "/.well-known/udap")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: over it the session answers %s", name, res.Status)
		}

		expectVerdict(t, s, name, answer.Ignored)
	}
}

// A next link to another origin is seen there, with the session's own capture.
func TestNextLinkElsewhereIsSeen(t *testing.T) {
	d, _ := faultyLab(t)
	s := d.OpenLab(lab.OpenRequest{Faults: []string{"fhir-next-elsewhere"}})
	o := s.Destination.Session(d.A, d.Client(d.A, "https://client.test/a"), "system/Patient.rs")
	reader := client.Reader{
		Client: o.Client,
		Token:  o.Token,
	}
	last, err := reader.Pages(context.Background(), "Patient", func(*client.Read) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "get.page") {
		t.Fatalf("the originator ended with %v", err)
	}

	body := string(last.Reply.Body)
	next := body[strings.LastIndex(body, `"https://fhir.test:`)+1:]
	next = next[:strings.IndexByte(next, '"')]
	authority := strings.TrimPrefix(next[:strings.Index(next, "/acme")], "https://fhir.test")
	elsewhere := d.HTTPClient("127.0.0.1" + authority)
	res, err := elsewhere.Get(next)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	expectVerdict(t, s, "fhir-next-elsewhere", answer.Ignored)
}

// Wrong settings for faults are complained about, each with what to do.
func TestFaultySettings(t *testing.T) {
	w := servertest.NewEnv(t)
	w.Listen()
	servertest.Lab(w)
	w.WriteIdentity("leaf", w.Client(w.A, "https://client.test/a"))

	for text, change := range map[string]func(*lab.Settings){
		"lab.faulty: \"nowhere\"": func(s *lab.Settings) { s.Faulty = "nowhere" },
		"there are no listeners": func(s *lab.Settings) {
			s.FaultyAuthority = &lab.AuthoritySettings{Chain: "a-anchor.pem", Key: "a.key"}
		},
		"lab.faultyAuthority.chain: leaf": func(s *lab.Settings) {
			s.Faulty = "127.0.0.1:0"
			s.FaultyAuthority = &lab.AuthoritySettings{Chain: "leaf.pem", Key: "leaf.key"}
		},
	} {
		changed := *w.Config.Lab
		change(&changed)
		c := w.Config
		c.Lab = &changed
		if err := c.Check(time.Now()); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %s in %s", err, text, filepath.Base(w.Dir))
		}
	}
}

// The page of faults has every fault with one button, the base of those of TLS, and
// what the session's clients did.
func TestPageOfFaults(t *testing.T) {
	d, later := faultyLab(t)
	s := d.OpenLab(lab.OpenRequest{Faults: []string{"metadata-expired"}})
	d.Get(s.Session.Base + "/.well-known/udap")
	expectVerdict(t, s, "metadata-expired", answer.Waiting)
	later(time.Minute)

	res, text := d.Get(s.Session.Page + "faults")
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %.300s", res.Status, text)
	}

	for _, f := range answer.All() {
		if !strings.Contains(text, `value="`+f.Name+`"`) {
			t.Errorf("no button for %s", f.Name)
		}
	}

	base := faults(t, s)["tls-self-signed"].Base
	for _, part := range []string{"Point the client at <code>" + base + "<", ">noticed<", "Choose none"} {
		if base == "" || !strings.Contains(text, part) {
			t.Errorf("the page has no %s", part)
		}
	}
}

// A fault stays chosen over a restart, and what clients did before is known after it.
func TestFaultSurvivesARestart(t *testing.T) {
	d, later := faultyLab(t)
	s := d.OpenLab(lab.OpenRequest{Faults: []string{"metadata-html"}})
	d.Get(s.Session.Base + "/.well-known/udap")
	expectVerdict(t, s, "metadata-html", answer.Waiting)
	d.Stop()

	later(time.Minute)
	again := d.Env.Start(d.Env.Listen())
	if _, body := again.Get(s.Session.Base + "/.well-known/udap"); !strings.Contains(body, "It works!") {
		t.Errorf("after the restart: %.100s", body)
	}
	expectVerdict(t, again.Reopen(s), "metadata-html", answer.Noticed)
}
