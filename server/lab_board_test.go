package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
	"fhirdest.example/server/servertest/chromium"
)

const liveBoard = `document.getElementById("live").textContent === "Live"`

var unfold = chromedp.Evaluate[chromedp.Void](
	`document.querySelectorAll("details").forEach(d => { d.open = true })`)

// A tester opens a session on the console; on its public page each step of a real
// client appears as a card while it is taken, also on a page that has been open for
// longer than the server's limit for an answer. A card leads to what was sent.
func TestBoardOfARealClient(t *testing.T) {
	const write = 5 * time.Second // a busy machine answers sooner
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Config.Timeouts.Write = write
	})
	b := chromium.Start(t, map[string]string{
		"fhir.test": d.Addr,
		"127.0.0.1": strings.TrimPrefix(d.Admin, "http://"),
	})

	b.Open(d.Admin + "/")
	b.Press(`a[href="/lab/"]`)
	b.Fill("#name", "Table 7")
	b.Press("main form button")
	if !strings.Contains(b.Text(), "Table 7") || !strings.HasPrefix(b.URL(), d.Admin+"/lab/") {
		t.Fatalf("at %s: %s", b.URL(), b.Text())
	}
	b.Eventually(liveBoard)

	session := d.LabSession(strings.Split(strings.TrimPrefix(b.URL(), d.Admin+"/lab/"), "/")[0])
	b.Open(session.Session.Page)
	b.Eventually(liveBoard)
	b.Do("note when it connects again", chromedp.Evaluate[chromedp.Void](`
		window.again = 0
		window.live = performance.now()
		new MutationObserver(() => window.again++).observe(document.getElementById("live"), {childList: true})`))
	b.Eventually(fmt.Sprintf(`performance.now() - window.live > %d`, write.Milliseconds()))

	s := session.Destination.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/Patient.rs")
	b.Eventually(`["discover", "register", "token"].every(s => document.querySelector("[id$=-" + s + "-card].good"))`)
	if _, err := s.Client.Get(t.Context(), "Patient", s.Token.Access); err != nil {
		t.Fatal(err)
	}
	b.Eventually(`document.querySelector("[id$=-read-card].good")`)
	if n := chromium.Get(b, "count connections", chromedp.Evaluate[int64](`window.again`)); n != 0 {
		t.Errorf("the page lost its connection %d times", n)
	}

	if text := b.Text(); !strings.Contains(text, "HTEST client") {
		t.Errorf("the lane has not the client's name: %s", text)
	}

	b.Press("[id$=-register-card]")
	b.Do("unfold all", unfold)
	text := b.Text()
	for _, want := range []string{
		"software_statement", "HTEST client", "made by the key of x5c[0]", "valid at receipt", "anchor of",
		"statement.aud", "POST /", "201 Created",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q on the page of the registration: %s", want, text)
		}
	}

	b.Inspect("lab-real-request")
	b.Open(session.Session.Page)
	b.Inspect("lab-real-board")
	b.Open(session.Session.Page + "rows?verdict=violated")
	if text := b.Text(); !strings.Contains(text, "No rule has this verdict") {
		t.Errorf("a client without a mistake violates something: %s", text)
	}
}

// A mistake is red on the page, in words, and a slash too many has its hint. Finishing
// the run begins a new one.
func TestBoardOfAMistake(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	session := d.OpenLab(lab.OpenRequest{Name: "second"})
	b := chromium.Start(t, map[string]string{"fhir.test": d.Addr})
	b.Open(session.Session.Page)
	b.Eventually(liveBoard)

	res, err := d.HTTP.Post(
		session.Session.Issuer+"/register",
		"application/json",
		strings.NewReader(`{"software_statement":"none","udap":"1"}`),
	)
	if err != nil {
		t.Fatal(err)
	}

	res.Body.Close()
	b.Eventually(`document.querySelector("[id$=-register-card].bad")`)
	if text := b.Text(); !strings.Contains(text, "software_statement") {
		t.Errorf("the mistake is not named: %s", text)
	}

	if res, err = d.HTTP.Get(session.Session.Base + "//metadata"); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	b.Eventually(`document.body.innerText.includes("two slashes")`)

	b.Open(session.Session.Page + "report")
	b.Press("main form button")
	b.Open(session.Session.Page)
	b.Eventually(liveBoard)
	if text := b.Text(); !strings.Contains(text, "Nothing has arrived yet") {
		t.Errorf("the new run is not empty: %s", text)
	}
}

// A fault that is chosen on its page is in the next answers, and the page has what the
// client did about it.
func TestFaultsAreChosenOnTheirPage(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	session := d.OpenLab(lab.OpenRequest{Name: "third"})
	b := chromium.Start(t, map[string]string{"fhir.test": d.Addr})
	b.Open(session.Session.Page + "faults")
	b.Do("unfold all", unfold)
	b.Press(`button[aria-label="Choose metadata-bad-signature"]`)

	o := session.Destination.Originator(d.A, d.Client(d.A, "https://client1.test/app"))
	if _, err := o.Discover(t.Context()); err == nil {
		t.Fatal("our own originator believes metadata with a bad signature")
	}
	b.Open(session.Session.Page)
	b.Eventually(`document.getElementById("latest").innerText.includes("metadata-bad-signature")`)
	b.Open(session.Session.Page + "faults")
	if text := b.Text(); !strings.Contains(text, "What clients did") || !strings.Contains(text, "request 1") {
		t.Errorf("the page does not have what the client did: %s", text)
	}
	b.Inspect("lab-real-faults")
}
