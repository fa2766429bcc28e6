package console

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/audit"
	"fhirdest.example/udap/look"
	"fhirdest.example/udap/trace"
)

//go:embed *.html
var pageFiles embed.FS

var pages = template.Must(look.Template("").Funcs(template.FuncMap{
	"refusedBy": func(t trace.Trace) string {
		return audit.RefusedBy(&t)
	},
	"warnings": warnings,
	"menu":     (*console)(nil).menu,
}).ParseFS(pageFiles, "*.html"))

// entry is one of the menu. Title is the heading of its page, so that the page can
// mark it.
type entry struct {
	Path  string
	Name  string
	Title string
}

// menu leads to every page of the console.
func (c *console) menu() []entry {
	all := []entry{
		{"/", "Overview", "Overview"},
		{"/traces", "Decisions", "Decisions"},
		{"/traces?stored=1", "Stored decisions", "Stored decisions"},
		{"/ready", "Readiness", "Readiness"},
		{"/launch", "Launch an app", "Launch an app"},
		{"/disclosures", "Disclosures", "Disclosures"},
		{"/sheet", "Trust sheet", "Trust sheet"},
		{"/metrics", "Metrics", "Metrics"},
	}
	if c.Lab != nil {
		all = slices.Insert(all, 1, entry{"/lab/", "Lab", "Lab"})
	}
	return all
}

// warnings counts the warnings of a trace, in words.
func warnings(t trace.Trace) string {
	switch n := len(t.Warnings()); n {
	case 0:
		return ""
	case 1:
		return "1 warning"
	default:
		return strconv.Itoa(n) + " warnings"
	}
}

// maxListed bounds one answer of /traces.
const maxListed = 1000

func (c *console) home(w http.ResponseWriter, r *http.Request) {
	c.html(w, r, "home", struct {
		Ready  Readiness
		Recent []audit.Decision
		Lab    bool
	}{c.Ready(), c.Decisions.Recent(50), c.Lab != nil})
}

func (c *console) style(w http.ResponseWriter, r *http.Request) {
	look.ServeSheet(w, r)
}

// traces lists decisions, newest first. Parameters: n, how many; client,
// community, action and code, which they must have; stored=1, those that the
// store kept rather than those in memory.
func (c *console) traces(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n < 1 {
		n = 100
	}
	title := "Decisions"
	from := c.Decisions.Recent(maxListed)
	if r.URL.Query().Get("stored") != "" {
		title = "Stored decisions"
		if from, err = c.Decisions.Stored(maxListed); err != nil {
			c.unread(w, r, "the stored decisions cannot be read; the log says why")
			return
		}
	}

	list := []audit.Decision{}
	for _, d := range from {
		if len(list) < min(n, maxListed) && matches(r, &d.Trace) {
			list = append(list, d)
		}
	}

	if wantsHTML(r) {
		c.html(w, r, "traces", struct {
			Title string
			List  []audit.Decision
		}{title, list})
		return
	}
	reply(w, r, http.StatusOK, list)
}

func matches(r *http.Request, t *trace.Trace) bool {
	for name, value := range map[string]string{
		"client": string(t.Client), "community": string(t.Community), "action": t.Action, "code": string(t.Code),
	} {
		if asked := r.URL.Query().Get(name); asked != "" && asked != value {
			return false
		}
	}
	return true
}

func (c *console) trace(w http.ResponseWriter, r *http.Request, id string) {
	d, ok, err := c.Decisions.Find(id)
	switch {
	case err != nil:
		c.unread(w, r, "the stored decisions cannot be read; the log says why")
	case !ok:
		fail(w, r, http.StatusNotFound,
			"there is no such trace: only the newest are kept, and those before authentication in memory only")
	case wantsHTML(r):
		c.html(w, r, "trace", d)
	default:
		reply(w, r, http.StatusOK, d)
	}
}

func (c *console) health(w http.ResponseWriter, r *http.Request) {
	reply(w, r, http.StatusOK, map[string]string{"status": "ok"})
}

func (c *console) ready(w http.ResponseWriter, r *http.Request) {
	state := c.Ready()
	status := http.StatusOK
	if !state.Ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retry)
	}

	switch {
	case !c.Open:
		reply(w, r, status, map[string]bool{"ready": state.Ready})
	case wantsHTML(r):
		c.htmlStatus(w, r, status, "ready", state)
	default:
		reply(w, r, status, state)
	}
}

// verify verifies the audit record. Its report names numbers of records alone.
func (c *console) verify(w http.ResponseWriter, r *http.Request) {
	if !c.verifying.TryLock() {
		w.Header().Set("Retry-After", retry)
		fail(w, r, http.StatusServiceUnavailable, "the audit record is being verified already")
		return
	}
	defer c.verifying.Unlock()

	report, err := c.Verify(r.Context(), r.URL.Query().Get("checkpoint"))
	var bad *BadQuestion
	switch {
	case errors.As(err, &bad):
		fail(w, r, http.StatusBadRequest, bad.Text)
	case err != nil:
		c.unread(w, r, "the audit record cannot be read: "+err.Error())
	default:
		reply(w, r, http.StatusOK, report)
	}
}

func (c *console) refresh(w http.ResponseWriter, r *http.Request) {
	c.Refresh(r.Context())
	w.Header().Set("Location", "/ready")
	write(w, r, http.StatusSeeOther, nil)
}

// wantsHTML reports whether a browser asks, which names text/html first.
func wantsHTML(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "text/html")
}

func (c *console) html(w http.ResponseWriter, r *http.Request, name string, data any) {
	c.htmlStatus(w, r, http.StatusOK, name, data)
}

func (c *console) htmlStatus(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := c.template.ExecuteTemplate(&b, name, data); err != nil {
		fail(w, r, http.StatusInternalServerError, "the page could not be made")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Vary", "Accept")
	write(w, r, status, b.Bytes())
}

func reply(w http.ResponseWriter, r *http.Request, status int, v any) {
	body, err := json.Marshal(v, jsontext.WithIndent("  "), jsontext.EscapeForHTML(true))
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer could not be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept")
	write(w, r, status, append(body, '\n'))
}

// retry is after how many seconds a request that could not be served may be sent again.
const retry = "10"

// unread answers a request for what the stores have and could not give.
func (c *console) unread(w http.ResponseWriter, r *http.Request, text string) {
	w.Header().Set("Retry-After", retry)
	if wantsHTML(r) {
		c.htmlStatus(w, r, http.StatusServiceUnavailable, "unread", text)
		return
	}
	fail(w, r, http.StatusServiceUnavailable, text)
}

func fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	reply(w, r, status, map[string]string{"error": text})
}

func write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader is gone; nothing to do
	}
}
