package board_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"fhirdest.example/server/lab/board"
	"fhirdest.example/server/servertest/chromium"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/udaptest"
)

// public serves the pages of the session as the public site does.
func (e *env) public(open bool) http.Handler {
	return board.New(board.Config{
		Lab:     e.memory,
		Root:    "/acme/lab/",
		Site:    "Acme lab",
		Faults:  answer.All(),
		Open:    open,
		Missing: http.NotFoundHandler(),
		Now:     func() time.Time { return udaptest.Now },
		Log:     slog.New(slog.NewTextHandler(e.t.Output(), nil)),
	})
}

var consoleLink = regexp.MustCompile(`href="(/|/acme/lab/day)"`)

// TestPublicPagesStayInTheirSession: no page of a session leads to the console or to
// other sessions where there is no list of them, each names its session, and a
// further session is offered only where one may be opened.
func TestPublicPagesStayInTheirSession(t *testing.T) {
	e := newEnv(t)
	e.fill()

	for _, open := range []bool{true, false} {
		for _, path := range []string{
			"", "requests", "x/1", "rows", "faults", "bring", "client", "report",
		} {
			t.Run(path, func(t *testing.T) {
				w := httptest.NewRecorder()
				r := httptest.NewRequest("GET", "/acme/lab/"+sessionID+"/"+path, nil)
				e.public(open).ServeHTTP(w, r)
				page := w.Body.String()

				if w.Code != http.StatusOK {
					t.Fatalf("status %d", w.Code)
				}
				if links := consoleLink.FindAllString(page, -1); len(links) > 0 {
					t.Errorf("it leads to %q", links)
				}
				title, _, _ := strings.Cut(page, "</title>")
				if !strings.Contains(title, "Table 7: Acme EHR") {
					t.Errorf("its title is %q", title[strings.LastIndex(title, ">")+1:])
				}
				if offered := strings.Contains(page, "Open another session"); offered != open {
					t.Errorf("a further session is offered: %t, want %t", offered, open)
				}
			})
		}
	}
}

// TestNobodyYet: an empty board shows how to begin, until the first client comes.
func TestNobodyYet(t *testing.T) {
	e := newEnv(t)
	b := e.chromium()
	b.Open(e.page(""))
	b.Eventually(`document.getElementById("live").textContent === "Live"`)

	if !strings.Contains(b.Text(), "No client has come yet") {
		t.Errorf("an empty board has no word on how to begin: %s", b.Text())
	}
	e.add(e.exchange(conform.Discover, 200, "/fhir/.well-known/udap"), assessment("c1", "green"))
	b.Eventually(`!document.body.innerText.includes("No client has come yet")`)
	b.Eventually(`/[0-9]{2}:[0-9]{2}:[0-9]{2}Z/.test(document.getElementById("latest").innerText)`)
}

// TestButtonsKeepTheirWords: a button beside a long text is not narrower than its
// word, and names in code stay as they are.
func TestButtonsKeepTheirWords(t *testing.T) {
	e := newEnv(t)
	b := e.chromium()
	for _, width := range []int64{1440, 720, 390} {
		b.Look(width, 900, "light")
		b.Open(e.page("faults"))
		b.Do("unfold", chromedp.Evaluate[chromedp.Void](
			`document.querySelectorAll("details").forEach(d => d.open = true)`))

		tall := chromium.Get(b, "measure buttons", chromedp.Evaluate[int64](
			`Math.max(...[...document.querySelectorAll(".faults button")].map(b => b.offsetHeight))`))
		if tall == 0 || tall > 60 {
			t.Errorf("at %d pixels a button of one word is %d pixels high", width, tall)
		}
	}

	text := b.Text()
	if strings.Contains(text, "Signed_metadata") || !strings.Contains(text, "signed_metadata was changed") {
		t.Error("signed_metadata is written in another way")
	}
	if !strings.Contains(text, "within 30 s:") {
		t.Error("the time within which a fault is ignored has no unit of its own")
	}
}

// TestRequestsAreReadable: what all requests of a session have in their paths is left
// out of the list.
func TestRequestsAreReadable(t *testing.T) {
	e := newEnv(t)
	e.add(e.exchange(conform.Read, 200, "/acme/lab/"+sessionID+"/fhir/Patient?_count=1"), assessment("c1", "green"))
	page := e.get(e.page("requests"))
	if !strings.Contains(page, "<code>POST …/fhir/Patient?_count=1</code>") {
		t.Errorf("the list has another path: %s", page)
	}
}

// TestPKCS12IsAFile: a certificate with its key is downloaded as a file that other
// programs read.
func TestPKCS12IsAFile(t *testing.T) {
	e := newEnv(t)
	_, page := e.ask("POST", sessionID+"/client", "")
	if !strings.Contains(page, `href="data:application/x-pkcs12;base64,YWJj" download="client.p12"`) {
		t.Errorf("no file in %s", page)
	}
}
