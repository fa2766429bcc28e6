package console

import (
	"context"
	"html/template"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"fhirdest.example/certs/netname"
	"fhirdest.example/server/audit"
)

// Config is what the console shows and to whom.
type Config struct {
	Decisions *audit.Log
	Ready     func() Readiness
	Await     func(context.Context) // has stores that could not be reached try again; nil: none can be away
	Refresh   func(context.Context) // fetches every revocation list anew
	Metrics   http.Handler
	Lab       http.Handler // below /lab/; nil: there is no lab
	Launcher  Launcher     // nil: there are no people for whom an app could be opened
	// Accountant accounts for disclosures; nil: there is no FHIR service.
	Accountant Accountant
	// Verify verifies the audit record, and returns its report; checkpoint is that of
	// an earlier one, or empty. Its error is a *BadQuestion if that is none.
	Verify func(ctx context.Context, checkpoint string) (any, error)
	Hosts  []string // names accepted in Host, beside localhost and the loopback addresses
	Open   bool     // false: only /health, /ready and /audit/verify answer, the former two without details
}

type console struct {
	Config
	pages     map[string]page
	template  *template.Template
	verifying sync.Mutex // held while the audit record is read, so that it is read once at a time
}

// page is one resource: its handlers by method.
type page map[string]http.HandlerFunc

// New returns the handler of the administration listener.
func New(cfg Config) http.Handler {
	c := &console{Config: cfg}
	c.template = template.Must(pages.Clone()).Funcs(template.FuncMap{
		"menu": c.menu,
	})
	c.pages = map[string]page{
		"/":             {"GET": c.home},
		"/style.css":    {"GET": c.style},
		"/traces":       {"GET": c.traces},
		"/ready":        {"GET": c.ready},
		"/sheet":        {"GET": c.sheet},
		"/health":       {"GET": c.health},
		"/audit/verify": {"GET": c.verify},
		"/metrics":      {"GET": cfg.Metrics.ServeHTTP},
		"/refresh":      {"POST": c.refresh},
		"/disclosures":  {"GET": c.disclosures},
		"/launch":       {"GET": c.launchForm, "POST": c.launch},
	}

	return c
}

// Paths returns the paths of the pages of a handler that New has made.
func Paths(h http.Handler) []string {
	c, ok := h.(*console)
	if !ok {
		return nil
	}
	return slices.Sorted(maps.Keys(c.pages))
}

// always are the pages that answer even when the console is closed.
var always = []string{"/health", "/ready", "/audit/verify"}

func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	headers(w.Header())
	switch {
	case !c.ours(r.Host):
		// A page of another site whose name was made to lead here (DNS
		// rebinding) ends here: its Host is that site's.
		fail(w, r, http.StatusMisdirectedRequest,
			"this name does not lead to the console; use localhost, or add the name under admin.hosts")

	case !c.Open && !slices.Contains(always, r.URL.Path):
		fail(
			w,
			r,
			http.StatusForbidden,
			"the console is closed; open it with admin.open: true",
		)
	case c.Lab != nil && strings.HasPrefix(r.URL.Path, "/lab/"):
		c.Lab.ServeHTTP(w, r)
	default:
		c.route(w, r)
	}
}

func (c *console) route(w http.ResponseWriter, r *http.Request) {
	p := c.pages[r.URL.Path]
	if id, ok := strings.CutPrefix(r.URL.Path, "/traces/"); ok && id != "" &&
		c.pages["/traces"] != nil {
		p = page{"GET": func(w http.ResponseWriter, r *http.Request) {
			c.trace(w, r, id)
		}}
	}

	if p == nil {
		fail(w, r, http.StatusNotFound, "there is no such page")
		return
	}

	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h := p[method]
	switch {
	case h == nil:
		w.Header().Set("Allow", p.allow())
		fail(w, r, http.StatusMethodNotAllowed, "this page answers "+p.allow())
	case method != http.MethodGet && !sameOrigin(r):
		fail(w, r, http.StatusForbidden,
			"send this from the console's own page: its Origin header must name this console")
	default:
		if c.Await != nil && r.URL.Path != "/health" {
			c.Await(r.Context())
		}
		h(w, r)
	}
}

func (p page) allow() string {
	switch {
	case p["GET"] != nil && p["POST"] != nil:
		return "GET, HEAD, POST"
	case p["GET"] != nil:
		return "GET, HEAD"
	}
	return "POST"
}

// ours reports whether a Host header names this console.
func (c *console) ours(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return netname.Loopback(strings.ToLower(name)) ||
		slices.ContainsFunc(c.Hosts, func(h string) bool {
			return strings.EqualFold(h, name)
		})
}

// sameOrigin asks for the proof that a page of this console sent the request.
// Browsers send it as Sec-Fetch-Site, which no page can set; their Origin is then
// ours, or null because of our Referrer-Policy. Without that field Origin itself
// must name us: other sites cannot forge it, and its absence proves nothing.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	ours := len(r.Header["Origin"]) == 1 && origin == "http://"+r.Host
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return ours || origin == "null" || origin == ""
	case "":
		return ours
	}

	return false
}

// headers sets the fields that every answer has, errors included.
func headers(h http.Header) {
	h.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// Probes returns the handler of a listener that may be reached from other machines:
// /health and /ready, without any detail, under whatever name it is reached.
func Probes(ready func() bool) http.Handler {
	c := &console{Config: Config{Ready: func() Readiness {
		return Readiness{Ready: ready()}
	}}}
	c.pages = map[string]page{
		"/health": {"GET": c.health},
		"/ready":  {"GET": c.ready},
	}

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers(w.Header())
		c.route(w, r)
	})
}
