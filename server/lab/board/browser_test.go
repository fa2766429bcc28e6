package board_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest/chromium"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
)

// shown returns the texts of the elements of a selector.
func shown(b *chromium.Browser, selector string) []string {
	return chromium.Get(b, "read "+selector, chromedp.Evaluate[[]string](
		`[...document.querySelectorAll("`+selector+`")].map(e => e.innerText.replaceAll(/\s+/g, " ").trim())`))
}

// count returns how many elements a selector has.
func count(b *chromium.Browser, selector string) int64 {
	return chromium.Get(b, "count "+selector, chromedp.Evaluate[int64](
		`document.querySelectorAll("`+selector+`").length`))
}

// Cards appear on an open page as requests arrive, in the order of the steps; many
// reads are one card, and a client that turns out to be another one joins its lane.
func TestCardsAppear(t *testing.T) {
	e := newEnv(t)
	b := e.chromium()
	b.Open(e.page(""))
	b.Eventually(`document.getElementById("live").textContent === "Live"`)
	b.Do("mark the page", chromedp.Evaluate[chromedp.Void](`window.marked = true`))

	e.add(e.exchange(conform.Discover, 200, "/fhir/.well-known/udap"), assessment("c1", "green"))
	b.Eventually(`document.querySelectorAll("a.step.good").length === 1`)
	e.add(e.exchange(conform.Register, 400, "/oauth/register"), assessment("c2", "red", "c1"))
	b.Eventually(`document.querySelectorAll("a.step.bad").length === 1`)
	e.add(e.exchange(conform.Register, 201, "/oauth/register"), assessment("c2", "amber"))
	b.Eventually(`document.querySelectorAll("a.step.warn").length === 1`)
	for range 25 {
		e.add(e.exchange(conform.Read, 200, "/fhir/Patient"), assessment("c2", "green"))
	}

	b.Eventually(`document.body.innerText.includes("Read ×25")`)

	steps := shown(b, "a.step")
	want := []string{
		"Discover ✓ OK 200",
		"Register ×2 ! warning 201 before: 1 refused or broken",
		"Read ×25 ✓ OK 200",
	}
	if strings.Join(steps, "|") != strings.Join(want, "|") {
		t.Errorf("cards %q, want %q", steps, want)
	}

	if n := count(b, ".lane"); n != 1 {
		t.Errorf("%d lanes for one client", n)
	}
	if marked := chromium.Get(b, "see the mark", chromedp.Evaluate[bool](`window.marked === true`)); !marked {
		t.Error("the page was loaded again")
	}

	b.Press("a.step.warn")
	if text := b.Text(); !strings.Contains(text, "Requests of") || count(b, "tbody tr") != 2 {
		t.Errorf("the card leads to %s", text)
	}
}

// A session that is cleared begins anew on the pages that show it, and one that ends
// says so.
func TestRunsEndOnOpenPages(t *testing.T) {
	e := newEnv(t)
	b := e.chromium()
	e.add(e.exchange(conform.Discover, 200, "/"), assessment("c1", "green"))
	e.add(e.exchange(conform.Token, 200, "/"), assessment("c1", "green"))
	b.Open(e.page(""))
	b.Eventually(`document.getElementById("live").textContent === "Live"`)

	e.clear()
	for range 2 { // as many as there were
		e.add(e.exchange(conform.Discover, 404, "/"), assessment("c1", "red"))
	}
	b.Eventually(`document.querySelector("a.step.bad")`)
	if n := count(b, "a.step"); n != 1 {
		t.Errorf("%d cards in the new run", n)
	}

	b.Eventually(`document.getElementById("live").textContent === "Live"`)
	e.end()
	b.Eventually(`document.getElementById("live").textContent === "This session has ended"`)
}

// A page sees the end of its session whenever that comes, also just after a request,
// while the page still waits for more to show at once.
func TestTheEndIsSeenAfterARequest(t *testing.T) {
	e := newEnv(t)
	res, err := http.Get(e.page("events?page=0&since=0"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	e.add(e.exchange(conform.Discover, 200, "/"), assessment("c1", "green"))
	e.end()
	text, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(text), "event: ended\n") {
		t.Errorf("the stream ends without a word, %v: %s", err, text)
	}
}

// Without scripts, every page has all that there is, as of when it was loaded.
func TestPagesWithoutScripts(t *testing.T) {
	e := newEnv(t)
	e.fill()
	b := e.chromium()
	b.WithoutScripts()

	b.Open(e.page(""))
	before := count(b, "a.step")
	if before < 8 || !strings.Contains(b.Text(), "Reload") {
		t.Errorf("%d cards on %s", before, b.Text())
	}
	e.add(e.exchange(conform.Cancel, 200, "/oauth/register"), assessment("c0", "green"))
	b.Press("#live a")
	if n := count(b, "a.step"); n != before+1 {
		t.Errorf("%d cards after %d and a reload", n, before)
	}

	b.Press("[id$=-register-card].bad")
	for _, text := range []string{
		"exp is ten minutes after iat",
		"let it live five minutes at most",
		"software_statement",
	} {
		if !strings.Contains(b.Text(), text) {
			t.Errorf("no %q on the page of a request", text)
		}
	}

	b.Open(e.page("faults"))
	b.Do("unfold", chromium.Click("summary"))
	b.Press(`button[aria-label="Choose tls-expired"]`)
	if s, _ := e.Session(sessionID); len(s.Faults) != 1 || s.Faults[0] != "tls-expired" {
		t.Errorf("faults %q after the button", s.Faults)
	}
	b.Press("form.row button")
	if s, _ := e.Session(sessionID); len(s.Faults) != 0 {
		t.Errorf("faults %q after the other button", s.Faults)
	}
}

// Fifty clients and ten thousand requests leave a page of bounded size, on which a
// further request still appears.
func TestFiftyClientsAndTenThousandRequests(t *testing.T) {
	const clients, requests = 50, 10_000
	e := newEnv(t)
	order := []conform.Step{conform.Discover, conform.Register, conform.Token, conform.Read}

	for i := range requests {
		step := order[min(i/clients, len(order)-1)]
		e.add(e.exchange(step, 200, "/fhir/Patient"), assessment(fmt.Sprint("c", i%clients), "green"))
	}

	b := e.chromium()
	b.Open(e.page(""))
	b.Eventually(`document.getElementById("live").textContent === "Live"`)
	if n := count(b, ".lane"); n != clients {
		t.Errorf("%d lanes, want %d", n, clients)
	}

	elements, size := count(b, "*"), len(e.get(e.page("")))
	if elements > 5000 || size > 400_000 {
		t.Errorf("the page has %d elements and %d bytes", elements, size)
	}
	for i := range 500 {
		e.add(e.exchange(conform.Read, 200, "/fhir/Patient"), assessment(fmt.Sprint("c", i%clients), "green"))
	}
	e.add(e.exchange(conform.Cancel, 200, "/oauth/register"), assessment("c7", "green"))

	b.Eventually(`document.querySelectorAll("[id$=-cancel-card]").length === 1`)
	b.Eventually(`document.getElementById("tally").innerText.includes("10501")`)
	if n := count(b, "*"); n > elements+20 {
		t.Errorf("%d elements have become %d", elements, n)
	}

	if n := len(e.get(e.page("requests"))); n > 100_000 {
		t.Errorf("a list of requests has %d bytes", n)
	}
	if n := len(e.get(e.url + "day?date=2026-11-22")); n > 200_000 {
		t.Errorf("the day has %d bytes", n)
	}
}

// Clients beyond a page are on the next ones, and those beyond all bounds share a lane.
func TestManyClients(t *testing.T) {
	e := newEnv(t)
	for i := range 500 {
		e.add(e.exchange(conform.Discover, 200, "/"), assessment(fmt.Sprint("c", i), "green"))
	}
	first, last := e.get(e.page("")), e.get(e.page("?page=6"))
	if n := strings.Count(first, `<article class="lane"`); n != 60 {
		t.Errorf("%d lanes on the first page", n)
	}

	if !strings.Contains(first, "further clients") || !strings.Contains(first, `href="?page=1"`) {
		t.Error("the first page has not the lane of the rest, or does not lead on")
	}
	if n := strings.Count(last, `<article class="lane"`); n != 41 {
		t.Errorf("%d lanes on the last page", n)
	}

	b := e.chromium()
	b.Open(e.page(""))
	b.Eventually(`document.getElementById("live").textContent === "Live"`)
	e.add(e.exchange(conform.Token, 200, "/"), assessment("c450", "green")) // of the rest
	b.Eventually(`document.getElementById("tally").innerText.includes("501")`)
	if n := count(b, ".lane"); n != 60 {
		t.Errorf("%d lanes on an open page", n)
	}
}

// Every page passes the checker of accessibility on a desk and a phone, in light and
// dark.
func TestPagesAreAccessible(t *testing.T) {
	e := newEnv(t)
	b := e.chromium()
	b.Open(e.page(""))
	b.Inspect("lab-empty")
	e.fill()

	for name, url := range map[string]string{
		"lab-home":       e.url,
		"lab-day":        e.url + "day?date=2026-11-22",
		"lab-board":      e.page(""),
		"lab-room":       e.page("?stage=1"),
		"lab-request":    e.page("x/2"),
		"lab-other":      e.page("x/94"),
		"lab-missing":    e.page("x/1000"),
		"lab-requests":   e.page("requests"),
		"lab-rows":       e.page("rows"),
		"lab-faults":     e.page("faults"),
		"lab-client":     e.page("client"),
		"lab-report":     e.page("report"),
		"lab-rows-shown": e.page("rows?verdict=shown"),
	} {
		t.Run(name, func(t *testing.T) {
			b.Open(url)
			b.Inspect(name)
		})
	}

	b.Open(e.page("client"))
	b.Press("main form button")
	b.Inspect("lab-issued")
	b.Open(e.url)
	b.Press("main form button")
	b.Inspect("lab-home-problem")
}

func assessment(lane, colour string, joined ...string) lab.Assessment {
	return lab.Assessment{
		Lane:   lane,
		Client: assess.Known{Name: "client " + lane},
		Colour: colour,
		Text:   "what was seen",
		Joined: joined,
	}
}
