package board

import (
	"context"
	"crypto/x509"
	"embed"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/look"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed pages/board.css
var ownSheet []byte

//go:embed pages/board.js
var script []byte

// Config is what the pages show and to whom.
type Config struct {
	Lab  Lab
	Root string // path of the pages, ending in a slash, such as /acme/lab/
	Site string // name at the top of every page

	// List is for the console: whoever reaches Root sees the sessions and the clients
	// of a day. Elsewhere a session is found by its ID alone.
	List bool

	// Open lets everybody who reaches Root open a session.
	Open bool

	Faults []*answer.Fault // that can be chosen, by stage

	// Noticed returns what clients of a session did about deliberate faults; nil:
	// that is not known.
	Noticed func(ctx context.Context, id string) ([]answer.Outcome, error)
	// FaultBase returns the FHIR base URL that has a fault where it is not the session's
	// own; nil: no fault has one.
	FaultBase func(session lab.Session, fault string) string

	// Finish ends the present run of a session; nil: runs cannot be finished here.
	Finish func(ctx context.Context, id string) error

	// Evidence are the files of the other hops, in the order in which a request
	// passes them.
	Evidence []string

	// TLS are the authorities of the public site's TLS, to download; none: public ones.
	TLS []*x509.Certificate

	// Missing answers what is no page of the lab, like any other unknown path.
	Missing http.Handler

	Now func() time.Time
	Log *slog.Logger
}

// Board is the handler of the pages.
type Board struct {
	Config
	cross  *http.CrossOriginProtection
	ledger *ledger

	mu   sync.Mutex
	hubs map[string]*hub // by session
}

// New returns the handler of the pages of a lab.
func New(cfg Config) *Board {
	return &Board{
		Config: cfg,
		cross:  http.NewCrossOriginProtection(),
		ledger: newLedger(cfg.Evidence),
		hubs:   map[string]*hub{},
	}
}

// page is one resource: its handlers by method.
type page map[string]http.HandlerFunc

// files are the resources that are the same for every session.
func (b *Board) files() map[string]page {
	return map[string]page{
		"look.css":  {"GET": look.ServeSheet},
		"board.css": {"GET": static("text/css; charset=utf-8", ownSheet)},
		"board.js":  {"GET": static("text/javascript; charset=utf-8", script)},
	}
}

// ServeHTTP answers with a page of the lab.
func (b *Board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, b.Root)
	if !ok {
		b.Missing.ServeHTTP(w, r)
		return
	}

	id, sub, below := strings.Cut(rest, "/")
	switch {
	case !below && b.files()[rest] != nil:
		b.serve(w, r, b.files()[rest])
	case !below && rest == "" && (b.List || b.Open):
		b.serve(w, r, page{"GET": b.home, "POST": b.open})
	case !below && rest == "day" && b.List:
		b.serve(w, r, page{"GET": b.day})
	case below:
		b.session(w, r, id, sub)

	default:
		b.Missing.ServeHTTP(w, r)
	}
}

// session answers with a page of one session.
func (b *Board) session(w http.ResponseWriter, r *http.Request, id, sub string) {
	s, err := b.Lab.Session(id)
	if err != nil {
		b.Missing.ServeHTTP(w, r)
		return
	}

	visit := &visit{
		Board:   b,
		Session: s,
	}
	p := visit.pages()[sub]
	if id == lab.Plain && !b.List {
		delete(p, "POST") // it belongs to all: the console alone changes it
	}
	if n, ok := strings.CutPrefix(sub, "x/"); ok {
		p = page{"GET": func(w http.ResponseWriter, r *http.Request) {
			visit.exchange(w, r, n)
		}}
	}
	if name, ok := strings.CutPrefix(sub, "bring/"); ok {
		p = visit.download(name)
	}

	if p == nil {
		b.Missing.ServeHTTP(w, r)
		return
	}
	b.serve(w, r, p)
}

// visit is a request for a page of one session.
type visit struct {
	*Board
	Session lab.Session
}

func (v *visit) pages() map[string]page {
	return map[string]page{
		"":         {"GET": v.board},
		"events":   {"GET": v.events},
		"requests": {"GET": v.requests},
		"rows":     {"GET": v.rows},
		"faults":   {"GET": v.faults, "POST": v.setFaults},
		"client":   {"GET": v.clientForm, "POST": v.issue},
		"bring":    {"GET": v.bring},
		"report":   {"GET": v.report, "POST": v.finish},

		"certificate": {"POST": v.certificate},
	}
}

// serve answers by the handler of a method.
func (b *Board) serve(w http.ResponseWriter, r *http.Request, p page) {
	harden(w.Header())
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}

	h := p[method]
	switch {
	case h == nil:
		w.Header().Set("Allow", p.allow())
		b.fail(w, r, http.StatusMethodNotAllowed, "This page answers "+p.allow()+".")
	case b.cross.Check(r) != nil:
		b.fail(w, r, http.StatusForbidden, "Send this form from the page of the lab itself.")
	default:
		h(w, r)
	}
}

func (p page) allow() string {
	if p["POST"] != nil {
		return "GET, HEAD, POST"
	}
	return "GET, HEAD"
}

// policy lets a page load its own style, script, pictures and events, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// harden sets the fields that every answer has.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex, nofollow")
}

func static(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=604800")
		w.Header().Set("Content-Type", kind)
		write(w, r, http.StatusOK, content)
	}
}

// maxHubs is how many boards are kept ready at once; others are counted anew when
// they are asked for.
const maxHubs = 128

// hub returns the board of a session, brought up to date.
func (b *Board) hub(ctx context.Context, id string) (*hub, error) {
	b.mu.Lock()
	h := b.hubs[id]
	if h == nil {
		b.evict()
		h = &hub{
			lab:  b.Lab,
			id:   id,
			view: newView(),
		}
		b.hubs[id] = h
	}

	h.used = b.Now()
	b.mu.Unlock()

	return h, h.refresh(ctx)
}

// evict makes room for a further board. b.mu is held.
func (b *Board) evict() {
	if len(b.hubs) < maxHubs {
		return
	}

	oldest := ""
	for id, h := range b.hubs {
		if oldest == "" || h.used.Before(b.hubs[oldest].used) {
			oldest = id
		}
	}

	delete(b.hubs, oldest)
}
