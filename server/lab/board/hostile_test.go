package board_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/net/html"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest/chromium"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// attack is markup that runs or loads something wherever it is not escaped, with
// characters that turn or hide text.
const attack = `"'><script>document.title='owned'</script><img src=/owned onerror="document.title='owned'">` +
	"<svg/onload=alert(1)> javascript:alert(1) {{.}} </code></pre><iframe src=/owned> \u202eslaog\u2066 \x00\x1b[31m"

// attacks fills a session in which every field that a client controls has markup.
func (e *env) attacks() {
	c := e.world.Client(e.t, e.world.A.Int, udaptest.Client1URI, nil)
	claims := c.Statement(udaptest.Now)
	for _, name := range []string{"client_name", "scope", "jti", "logo_uri", attack} {
		claims[name] = attack
	}
	claims["contacts"] = []string{attack}
	body := `{"software_statement":"` + c.Sign(e.t, claims) + `","udap":"1"}`

	for _, step := range []conform.Step{conform.Register, conform.Read, conform.Step(attack), conform.Other} {
		x := e.exchange(step, 400, "/"+attack)
		x.Method = attack
		x.Address = attack
		x.Fault = attack
		x.Request.Head = []byte(attack + "\r\n" + attack + "\r\n\r\n")
		x.Request.Body = []byte(body)
		x.Answer.Body = []byte(`{"` + attack + `": "` + attack)
		if step == conform.Read {
			x.Request.Head = []byte("POST / HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n")
			form := url.Values{attack: {attack}, "client_assertion": {"eyJ" + attack + ".." + attack}}
			x.Request.Body = []byte(form.Encode())
		}

		tr := trace.NewTrace(attack, udaptest.Now)
		tr.Client, tr.Community = attack, attack
		tr.Steps = []trace.Step{{
			Check:    attack,
			Title:    attack,
			Verdict:  trace.Refused,
			Expected: attack,
			Found:    attack,
			Remedy:   attack,
		}}

		x.Traces = []*trace.Trace{tr, nil}
		e.add(x, lab.Assessment{
			Lane: attack,
			Client: assess.Known{
				Name:      attack,
				URI:       attack,
				Community: attack,
			},
			Colour: attack,
			Text:   attack,
			Shows:  []string{attack},
			Findings: []conform.Finding{
				{Row: attack, Verdict: conform.Violated, Text: attack, Expected: attack, Found: attack, Remedy: attack},
				{Text: attack},
			},
		})
	}
}

// harmless fails for a page that has markup which no template of ours has.
func harmless(t *testing.T, page string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}

	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}

		switch n.Data {
		case "img", "svg", "iframe", "object", "embed", "base", "style":
			t.Errorf("an element %s", n.Data)
		case "script":
			if n.FirstChild != nil || len(n.Attr) == 0 || !strings.HasPrefix(n.Attr[0].Val, "/acme/lab/board.js?v=") {
				t.Errorf("a script %v", n.Attr)
			}
		}

		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" ||
				strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}

	for _, r := range "\u202e\u2066\x1b" {
		if strings.ContainsRune(page, r) {
			t.Errorf("the character %U is on the page", r)
		}
	}
}

// What a client sends is text on every page, on a board that is open, too.
func TestNothingOfAClientRuns(t *testing.T) {
	e := newEnv(t)
	b := e.chromium()
	b.Open(e.page(""))
	b.Eventually(`document.getElementById("live").textContent === "Live"`)
	e.attacks()
	b.Eventually(`document.getElementById("tally").innerText.includes("4\nrequests")`)
	live := chromium.Get(b, "read the page's markup", chromedp.Evaluate[string](`document.documentElement.outerHTML`))
	harmless(t, strings.ReplaceAll(live, "\u0000", ""))

	b.Eventually(`document.title.startsWith("Table 7")`)

	for _, path := range []string{
		"", "?page=9&stage=" + url.QueryEscape(attack), "requests", "x/1", "x/2", "x/3", "x/4",
		"requests?lane=" + url.QueryEscape(attack) + "&step=" + url.QueryEscape(attack),
		"rows?verdict=" + url.QueryEscape(attack), "faults", "client",
	} {
		t.Run(path, func(t *testing.T) {
			harmless(t, e.get(e.page(path)))
		})
	}

	harmless(t, e.get(e.url+"day?date=2026-11-22"))
	harmless(t, e.get(e.url+"?name="+url.QueryEscape(attack)+"&fault="+url.QueryEscape(attack)))
}

// Every answer has the policy that keeps scripts and frames of others out.
func TestEveryAnswerIsHardened(t *testing.T) {
	e := newEnv(t)
	e.fill()
	for _, path := range []string{
		e.url, e.url + "look.css", e.url + "board.css", e.url + "board.js", e.url + "day",
		e.page(""), e.page("x/1"), e.page("x/999"), e.page("rows"), e.page("faults"),
	} {
		res, err := http.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()

		policy := res.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'; script-src 'self'") ||
			strings.Contains(policy, "unsafe") || res.Header.Get("Referrer-Policy") != "no-referrer" ||
			res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, res.Header)
		}
	}
}

// Forms of other sites change nothing, and what is no page is answered like any
// unknown path.
func TestStrangers(t *testing.T) {
	e := newEnv(t)
	for _, row := range []struct {
		name, method, url, site string
		status                  int
	}{
		{"a form of another site", "POST", e.page("faults"), "cross-site", http.StatusForbidden},
		{"one of a sister site", "POST", e.url, "same-site", http.StatusForbidden},
		{"our own form", "POST", e.page("faults"), "same-origin", http.StatusSeeOther},
		{"another method", "DELETE", e.page("faults"), "same-origin", http.StatusMethodNotAllowed},
		{"another session", "GET", e.url + strings.Repeat("0", 32) + "/", "", http.StatusNotFound},
		{"no session's ID", "GET", e.url + "..%2f", "", http.StatusNotFound},
		{"no page", "GET", e.page("nothing"), "", http.StatusNotFound},
		{"no number", "GET", e.page("x/01"), "", http.StatusNotFound},
		{"a page below a page", "GET", e.page("rows/"), "", http.StatusNotFound},
	} {
		t.Run(row.name, func(t *testing.T) {
			req, err := http.NewRequest(row.method, row.url, strings.NewReader("fault=token-subset"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Sec-Fetch-Site", row.site)

			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != row.status {
				t.Errorf("status %d, want %d", res.StatusCode, row.status)
			}
		})
	}

	if s, _ := e.Session(sessionID); len(s.Faults) != 1 {
		t.Errorf("faults %q: our own form alone chooses one", s.Faults)
	}
}

// slow is a response whose reader takes nothing until it is released.
type slow struct {
	*httptest.ResponseRecorder
	begun, release chan struct{}
}

func (s *slow) Write(p []byte) (int, error) {
	close(s.begun)
	<-s.release
	return len(p), nil
}

// A reader that does not take its page holds up nobody else's.
func TestSlowReadersHoldUpNobody(t *testing.T) {
	e := newEnv(t)
	e.fill()
	s := &slow{
		ResponseRecorder: httptest.NewRecorder(),
		begun:            make(chan struct{}),
		release:          make(chan struct{}),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.server.Config.Handler.ServeHTTP(s, httptest.NewRequest(http.MethodGet, "/acme/lab/"+sessionID+"/", nil))
	}()

	<-s.begun
	e.get(e.page(""))
	e.get(e.page("x/2"))
	close(s.release)
	<-ended
}
