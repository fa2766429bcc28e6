package api

import (
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform/report"
	"fhirdest.example/udap/fault/answer"
)

// Config is what the interface serves, and to whom.
type Config struct {
	Lab  *lab.Service
	Root string // path of the lab, ending in a slash, such as /acme/lab/

	List bool // everybody who reaches Root may list the sessions
	Open bool // and open one

	// Missing answers what is no part of the interface, like any other unknown path.
	Missing http.Handler

	Log *slog.Logger
}

// API is the handler of the interface.
type API struct {
	Config
	cross *http.CrossOriginProtection
}

// New returns the handler of the interface.
func New(cfg Config) *API {
	return &API{
		Config: cfg,
		cross:  http.NewCrossOriginProtection(),
	}
}

// resource is one resource of the interface: its handlers by method.
type resource map[string]func(*request) error

// request is one request to the interface.
type request struct {
	*API
	http.ResponseWriter
	*http.Request
	id   string // of the session; empty: none is concerned
	rest string // what follows the resource's own path
}

// Owns reports whether a path is one of the interface.
func (a *API) Owns(urlPath string) bool {
	_, _, ok := a.split(urlPath)
	return ok
}

// split takes a path apart: ROOT[ID/]api/NAME.
func (a *API) split(urlPath string) (id, name string, ok bool) {
	rest, ok := strings.CutPrefix(urlPath, a.Root)
	if !ok {
		return "", "", false
	}
	if name, ok := strings.CutPrefix(rest, "api/"); ok {
		return "", name, true
	}

	id, sub, _ := strings.Cut(rest, "/")
	name, ok = strings.CutPrefix(sub, "api/")
	return id, name, ok && id != ""
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, name, ok := a.split(r.URL.Path)
	if ok && id != "" {
		_, err := a.Lab.Session(id)
		ok = err == nil
	}

	var found resource
	rest := ""
	if ok {
		found, rest = a.find(id, name)
	}
	if found == nil {
		a.Missing.ServeHTTP(w, r)
		return
	}

	req := &request{
		API:            a,
		ResponseWriter: w,
		Request:        r,
		id:             id,
		rest:           rest,
	}
	harden(w.Header())
	if err := req.serve(found); err != nil {
		req.fail(err)
	}
}

// find returns the resource of a name; nil when there is none.
func (a *API) find(id, name string) (found resource, rest string) {
	if id == "" {
		if name != "sessions" {
			return nil, ""
		}

		found = resource{}
		if a.Open {
			found["POST"] = (*request).open
		}
		if a.List {
			found["GET"] = (*request).list
		}
		if len(found) == 0 {
			return nil, ""
		}
		return found, ""
	}

	if n, ok := strings.CutPrefix(name, "exchanges/"); ok {
		return resource{"GET": (*request).exchange}, n
	}
	return ofSession[name], name
}

var ofSession = map[string]resource{
	"session":     {"GET": (*request).session, "DELETE": (*request).remove},
	"exchanges":   {"GET": (*request).exchanges},
	"events":      {"GET": (*request).events},
	"faults":      {"GET": (*request).catalogue, "POST": (*request).faults},
	"client":      {"POST": (*request).client},
	"finish":      {"POST": (*request).finish},
	"report.json": {"GET": (*request).report},
	"report.html": {"GET": (*request).report},
	"report.xml":  {"GET": (*request).report},
	"badge.svg":   {"GET": (*request).report},
}

// refusal is what is wrong with a request.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func (r *request) serve(found resource) error {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}

	do := found[method]
	switch {
	case r.id == lab.Plain && !r.List && method != http.MethodGet:
		return &refusal{http.StatusForbidden, "the plain session belongs to all: the console alone changes it"}
	case do == nil:
		r.Header().Set("Allow", found.allow())
		return &refusal{http.StatusMethodNotAllowed, "this resource answers " + found.allow()}
	case r.cross.Check(r.Request) != nil:
		return &refusal{http.StatusForbidden, "another site's page sent this request"}
	}
	return do(r)
}

// Header is that of the answer.
func (r *request) Header() http.Header { return r.ResponseWriter.Header() }

func (f resource) allow() string {
	var all []string
	for _, method := range []string{"GET", "POST", "DELETE"} {
		if f[method] == nil {
			continue
		}
		all = append(all, method)
		if method == "GET" {
			all = append(all, "HEAD")
		}
	}
	return strings.Join(all, ", ")
}

// fail answers with what is wrong.
func (r *request) fail(err error) {
	var refused *refusal
	var wrong *lab.RequestError
	status, text := http.StatusInternalServerError, "the lab failed"

	switch {
	case errors.As(err, &refused):
		status, text = refused.status, refused.text
	case errors.As(err, &wrong):
		status, text = http.StatusBadRequest, wrong.Error()
	case errors.Is(err, lab.ErrNoExchange):
		status, text = http.StatusNotFound, "there is no such exchange"
	case errors.Is(err, lab.ErrNoSession):
		r.Missing.ServeHTTP(r.ResponseWriter, r.Request)
		return
	case errors.Is(err, lab.ErrFull), errors.Is(err, lab.ErrBusy):
		r.Header().Set("Retry-After", "60")
		status, text = http.StatusTooManyRequests, "the lab is full: remove a session, or wait until one expires"
	case r.Context().Err() != nil:
		return // nobody waits for the answer
	default:
		r.Log.Error("the lab failed", "cause", err)
	}

	if err := r.answer(status, map[string]string{"error": text}); err != nil {
		r.Log.Error("the lab failed", "cause", err)
	}
}

// harden sets the fields that every answer has.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex, nofollow")
}

// answer writes a value as JSON.
func (r *request) answer(status int, v any) error {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	r.write(status, "application/json", append(text, '\n'))
	return nil
}

func (r *request) write(status int, media string, text []byte) {
	h := r.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(text)))
	r.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = r.Write(text) // who asked is gone
	}
}

// Write is that of the answer.
func (r *request) Write(text []byte) (int, error) { return r.ResponseWriter.Write(text) }

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

// read reads the body of a request, strictly.
func (r *request) read(v any) error {
	media, _, err := mime.ParseMediaType(r.Request.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return &refusal{http.StatusUnsupportedMediaType, "send application/json"}
	}

	body := http.MaxBytesReader(r.ResponseWriter, r.Body, maxBody)
	err = json.UnmarshalRead(body, v, json.RejectUnknownMembers(true))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &refusal{http.StatusRequestEntityTooLarge, "a request has at most 64 KiB"}
	case err != nil:
		return &refusal{http.StatusBadRequest, "not the JSON that is expected: " + err.Error()}
	}
	return nil
}

// open opens a session.
func (r *request) open() error {
	var req lab.OpenRequest
	if err := r.read(&req); err != nil {
		return err
	}

	s, err := r.Lab.Open(r.Context(), req)
	if err != nil {
		return err
	}
	r.Header().Set("Location", path.Join(r.Root, s.ID, "api/session"))
	return r.answer(http.StatusCreated, s)
}

func (r *request) list() error {
	return r.answer(http.StatusOK, map[string][]lab.Session{"sessions": r.Lab.Sessions()})
}

func (r *request) session() error {
	s, err := r.Lab.Session(r.id)
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, s)
}

func (r *request) remove() error {
	if err := r.Lab.Close(r.Context(), r.id); err != nil {
		return err
	}
	r.WriteHeader(http.StatusNoContent)
	return nil
}

// maxPage is how many exchanges are in one answer at most.
const maxPage = 100

func (r *request) exchanges() error {
	from, err := number(r.URL.Query().Get("from"), 1)
	if err != nil {
		return err
	}
	n, err := number(r.URL.Query().Get("n"), maxPage)
	if err != nil {
		return err
	}

	if err := lab.Settle(r.Context(), r.Lab, r.id); err != nil {
		return err
	}
	found, err := r.Lab.Exchanges(r.Context(), r.id, from, int(min(n, maxPage)))
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, map[string][]*lab.Kept{"exchanges": found})
}

func (r *request) exchange() error {
	n, err := number(r.rest, 0)
	if err != nil {
		return err
	}

	found, err := r.Lab.Exchange(r.Context(), r.id, n)
	if err != nil {
		return err
	}
	return r.answer(http.StatusOK, found)
}

// number reads a positive number; empty text is otherwise.
func number(text string, otherwise uint64) (uint64, error) {
	if text == "" {
		return otherwise, nil
	}

	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		return 0, &refusal{http.StatusBadRequest, "a number is expected, from 1"}
	}
	return n, nil
}

func (r *request) faults() error {
	var chosen struct {
		Faults []string `json:"faults"`
	}
	if err := r.read(&chosen); err != nil {
		return err
	}

	if err := r.Lab.SetFault(r.Context(), r.id, chosen.Faults); err != nil {
		return err
	}
	return r.session()
}

// faultEntry is one fault of the catalogue, and what clients did about it.
type faultEntry struct {
	Name    string          `json:"name"`
	Stage   string          `json:"stage"`
	Title   string          `json:"title"`
	Correct string          `json:"correct"` // what a correct client does
	Rule    string          `json:"rule"`
	Lasts   string          `json:"lasts"`
	Within  float64         `json:"within"`         // seconds in which requests are read
	Ignored string          `json:"ignored"`        // what shows that a client ignored it
	Base    string          `json:"base,omitempty"` // FHIR base URL that has it, where it is not the session's
	Chosen  bool            `json:"chosen"`
	Outcome *answer.Outcome `json:"outcome,omitempty"` // none: it is not chosen and was not seen
}

// catalogue answers with all faults that the session can have.
func (r *request) catalogue() error {
	session, err := r.Lab.Session(r.id)
	if err != nil {
		return err
	}
	known := lab.Faults{Service: r.Lab}
	outcomes, err := known.Noticed(r.Context(), r.id)
	if err != nil {
		return err
	}

	var all struct {
		Faults []faultEntry `json:"faults"`
	}
	for _, f := range known.All() {
		e := faultEntry{
			Name:    f.Name,
			Stage:   string(f.Stage),
			Title:   f.Title,
			Correct: f.Correct,
			Rule:    f.Rule,
			Lasts:   string(f.Lasts),
			Within:  f.Within.Seconds(),
			Ignored: f.Ignored,
			Base:    known.Base(session, f.Name),
			Chosen:  slices.Contains(session.Faults, f.Name),
		}
		if i := slices.IndexFunc(outcomes, func(o answer.Outcome) bool { return o.Fault == f.Name }); i >= 0 {
			e.Outcome = &outcomes[i]
		}
		all.Faults = append(all.Faults, e)
	}

	return r.answer(http.StatusOK, all)
}

func (r *request) client() error {
	var req lab.ClientRequest
	if err := r.read(&req); err != nil {
		return err
	}

	made, err := r.Lab.IssueClient(r.Context(), r.id, req)
	if err != nil {
		return err
	}
	return r.answer(http.StatusCreated, made)
}

// report answers with the report of the present run in the form that the name asks for.
func (r *request) report() error {
	made, err := lab.MakeReport(r.Context(), r.Lab, r.id)
	if err != nil {
		return err
	}
	return r.render(made)
}

func (r *request) render(made *report.Report) error {
	text, media, err := made.Render(r.rest)
	if err != nil {
		return err
	}

	if r.rest == "badge.svg" { // is shown in pages of others
		r.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	r.write(http.StatusOK, media, text)
	return nil
}

// finish ends the run and answers with its report.
func (r *request) finish() error {
	made, err := lab.FinishRun(r.Context(), r.Lab, r.id)
	if err != nil {
		return err
	}
	r.rest = "report.json"
	return r.render(made)
}
