package board

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/look"
)

// tally is the line of sums above a board.
type tally struct {
	Clients  int
	Requests int
	Good     int
	Warn     int
	Bad      int
	Pages    int
}

func newTally(b *view, pages int) tally {
	return tally{
		Clients:  len(b.order),
		Requests: b.count,
		Good:     b.of[look.Good],
		Warn:     b.of[look.Warn],
		Bad:      b.of[look.Bad],
		Pages:    pages,
	}
}

// items are lines of requests on a page of a session.
type items struct {
	Root   string
	List   []item
	ledger *ledger
}

// Passed returns in words which other hops passed a request and its answer as they
// were; empty: none is known.
func (of items) Passed(it item) string {
	hops, changed := of.ledger.passed(it.request, it.answer)
	switch {
	case changed:
		return "changed by a hop"
	case hops > 0:
		return plural(hops, "hop passed it unchanged", "hops passed it unchanged")
	}
	return ""
}

func (v *visit) items(list []item) items {
	return items{
		Root:   v.root(),
		List:   list,
		ledger: v.ledger,
	}
}

// boardPage is the live board of a session.
type boardPage struct {
	frame
	Tally  tally
	Lanes  []laneView
	Latest items
	Hints  items
	Since  uint64
	Page   int
	Older  int // page with older clients; 0: none
}

// board answers with the live board.
func (v *visit) board(w http.ResponseWriter, r *http.Request) {
	h, err := v.hub(r.Context(), v.Session.ID)
	if err != nil {
		v.fail(w, r, http.StatusInternalServerError, "The session could not be read.")
		return
	}

	v.ledger.read()
	p := boardPage{
		frame: v.frame(sessionName(&v.Session), "board"),
		Page:  pageNumber(r),
	}
	p.Stage = r.URL.Query().Get("stage") != ""
	var page []byte
	h.look(func(b *view) {
		lanes, pages := b.page(p.Page)
		p.Page = min(p.Page, pages-1)
		if p.Page+1 < pages {
			p.Older = p.Page + 1
		}
		p.Tally = newTally(b, pages)
		p.Latest, p.Hints = v.items(b.named(b.latest)), v.items(b.named(b.hints))
		p.Since = b.last

		for _, l := range lanes {
			p.Lanes = append(p.Lanes, v.laneOf(l))
		}
		page = v.draw("board", p)
	})
	v.send(w, r, http.StatusOK, page) // while others may use the view
}

// homePage is the list of sessions, with a form to open one.
type homePage struct {
	frame
	Sessions []lab.Session
	MayOpen  bool
	Stages   []faultStage
	Asked    lab.OpenRequest
}

func (b *Board) homePage(r *http.Request) *homePage {
	p := &homePage{
		frame:   b.frame("Lab"),
		MayOpen: b.Open,
		Stages:  b.stages(nil),
		Asked: lab.OpenRequest{
			Name:    r.URL.Query().Get("name"),
			Profile: r.URL.Query().Get("profile"),
			Mode:    lab.Mode(r.URL.Query().Get("mode")),
			Faults:  r.URL.Query()["fault"],
		},
	}

	if b.List {
		p.Sessions = b.Lab.Sessions()
	}
	return p
}

func (b *Board) home(w http.ResponseWriter, r *http.Request) {
	b.show(w, r, http.StatusOK, "home", b.homePage(r))
}

// maxForm bounds the body of a form, in bytes.
const maxForm = 64 << 10

// open opens a session and leads to its board.
func (b *Board) open(w http.ResponseWriter, r *http.Request) {
	if !b.Open {
		b.fail(w, r, http.StatusForbidden, "Sessions are opened on the console.")
		return
	}

	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		b.fail(w, r, http.StatusBadRequest, "The form could not be read.")
		return
	}

	asked := lab.OpenRequest{
		Name:    strings.TrimSpace(r.PostForm.Get("name")),
		Profile: r.PostForm.Get("profile"),
		Mode:    lab.Mode(r.PostForm.Get("mode")),
		Faults:  slices.DeleteFunc(r.PostForm["fault"], func(f string) bool { return f == "" }),
	}
	s, err := b.Lab.Open(r.Context(), asked)
	if err != nil {
		status, text := problem(err)
		p := b.homePage(r)
		p.Asked, p.Problem = asked, text
		b.show(w, r, status, "home", p)
		return
	}

	seeOther(w, r, b.Root+s.ID+"/")
}

// rowsPage is the table of requirements.
type rowsPage struct {
	frame
	Filter string
	Counts map[string]int
	Rows   []conform.Outcome
	Page   string // root of the session's pages
}

// rows answers with what is known about each requirement.
func (v *visit) rows(w http.ResponseWriter, r *http.Request) {
	all, err := v.Lab.Outcomes(r.Context(), v.Session.ID)
	if err != nil {
		v.fail(w, r, http.StatusInternalServerError, "The requirements could not be read.")
		return
	}

	p := rowsPage{
		frame:  v.frame("Requirements", "rows"),
		Filter: r.URL.Query().Get("verdict"),
		Counts: map[string]int{},
		Page:   v.root(),
	}

	for _, o := range all {
		p.Counts[string(o.Verdict)]++
		if p.Filter == "" || p.Filter == string(o.Verdict) {
			p.Rows = append(p.Rows, o)
		}
	}

	order := []conform.Verdict{conform.Violated, conform.Warned, conform.Shown, conform.NotExercised}
	slices.SortStableFunc(p.Rows, func(a, b conform.Outcome) int {
		return cmp.Compare(slices.Index(order, a.Verdict), slices.Index(order, b.Verdict))
	})
	v.show(w, r, http.StatusOK, "rows", p)
}

// faultsPage is the chooser of deliberate faults.
type faultsPage struct {
	frame
	Stages   []faultStage
	Chosen   map[string]bool
	Bases    map[string]string // of faults that have a base of their own
	Outcomes []answer.Outcome
	Page     string
}

// faultStage are the faults of one stage.
type faultStage struct {
	Name   answer.Stage
	Chosen bool // one of them is
	Faults []*answer.Fault
}

func (v *visit) faults(w http.ResponseWriter, r *http.Request) {
	var outcomes []answer.Outcome
	if v.Noticed != nil {
		var err error
		if outcomes, err = v.Noticed(r.Context(), v.Session.ID); err != nil {
			v.fail(w, r, http.StatusInternalServerError, "The outcomes could not be read.")
			return
		}
	}

	p := faultsPage{
		frame:    v.frame("Deliberate faults", "faults"),
		Stages:   v.stages(v.Session.Faults),
		Chosen:   map[string]bool{},
		Bases:    map[string]string{},
		Outcomes: outcomes,
		Page:     v.root(),
	}
	for _, name := range v.Session.Faults {
		p.Chosen[name] = true
	}
	for _, f := range v.Faults {
		if v.FaultBase != nil {
			p.Bases[f.Name] = v.FaultBase(v.Session, f.Name)
		}
	}

	v.show(w, r, http.StatusOK, "faults", p)
}

// stages returns the faults that can be chosen, by stage.
func (b *Board) stages(chosen []string) []faultStage {
	var out []faultStage
	for _, f := range b.Faults {
		if n := len(out); n == 0 || out[n-1].Name != f.Stage {
			out = append(out, faultStage{Name: f.Stage})
		}
		last := &out[len(out)-1]
		last.Faults = append(last.Faults, f)
		last.Chosen = last.Chosen || slices.Contains(chosen, f.Name)
	}
	return out
}

// setFaults chooses the faults of a form: those given, or none.
func (v *visit) setFaults(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		v.fail(w, r, http.StatusBadRequest, "The form could not be read.")
		return
	}

	names := slices.DeleteFunc(r.PostForm["fault"], func(f string) bool { return f == "" })
	if err := v.Lab.SetFault(r.Context(), v.Session.ID, names); err != nil {
		status, text := problem(err)
		v.fail(w, r, status, text)
		return
	}
	seeOther(w, r, v.root()+"faults")
}

// clientPage is the form for a throw-away certificate.
type clientPage struct {
	frame
	Page    string
	Issuers []lab.Issuer
	Asked   lab.ClientRequest
	Issued  *lab.Client
}

func (v *visit) clientPage() clientPage {
	return clientPage{
		frame:   v.frame("Certificate for a client", "client"),
		Page:    v.root(),
		Issuers: v.Lab.Issuers(),
	}
}

func (v *visit) clientForm(w http.ResponseWriter, r *http.Request) {
	v.show(w, r, http.StatusOK, "client", v.clientPage())
}

// issue answers a form with a certificate and, unless a CSR was given, its key.
func (v *visit) issue(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		v.fail(w, r, http.StatusBadRequest, "The form could not be read.")
		return
	}

	p := v.clientPage()
	p.Asked = lab.ClientRequest{
		Community: r.PostForm.Get("community"),
		Name:      strings.TrimSpace(r.PostForm.Get("name")),
		Key:       r.PostForm.Get("key"),
		CSR:       strings.TrimSpace(r.PostForm.Get("csr")),
	}

	status := http.StatusOK
	issued, err := v.Lab.IssueClient(r.Context(), v.Session.ID, p.Asked)
	if err != nil {
		status, p.Problem = problem(err)
	}
	p.Issued = issued
	v.show(w, r, status, "client", p)
}

// reportPage leads to the reports of a session.
type reportPage struct {
	frame
	Page      string
	MayFinish bool
}

func (v *visit) report(w http.ResponseWriter, r *http.Request) {
	v.show(w, r, http.StatusOK, "report", reportPage{
		frame:     v.frame("Report", "report"),
		Page:      v.root(),
		MayFinish: v.Finish != nil && v.mayChange(),
	})
}

// mayChange reports whether whoever sees the session may change it.
func (v *visit) mayChange() bool {
	return v.List || v.Session.ID != lab.Plain
}

// finish ends the session's present run: the report of the next one is compared with
// it.
func (v *visit) finish(w http.ResponseWriter, r *http.Request) {
	if v.Finish == nil {
		v.fail(w, r, http.StatusForbidden, "Runs are not finished here.")
		return
	}
	if err := v.Finish(r.Context(), v.Session.ID); err != nil {
		status, text := problem(err)
		v.fail(w, r, status, text)
		return
	}
	seeOther(w, r, v.root()+"report")
}

// problem returns the status and the words for an error of the lab.
func problem(err error) (status int, text string) {
	var request *lab.RequestError
	switch {
	case errors.As(err, &request):
		return http.StatusBadRequest, shorten(request.Error(), 300)
	case errors.Is(err, lab.ErrFull):
		return http.StatusServiceUnavailable, "There are as many sessions as there may be: close one, or come later."
	case errors.Is(err, lab.ErrBusy), errors.Is(err, lab.ErrClosed):
		return http.StatusServiceUnavailable, "The lab has no room for this now. Try again in a minute."
	case errors.Is(err, lab.ErrNoSession):
		return http.StatusNotFound, "There is no such session."
	}

	return http.StatusInternalServerError, "The lab failed; the operator can see why."
}

// dayPage is the board over the clients of all sessions of one day.
type dayPage struct {
	frame
	Day     time.Time
	Steps   []conform.Step
	Clients []dayClient
	More    int // clients that are not shown
}

// dayClient is one line of it.
type dayClient struct {
	Session lab.Session
	Lane    laneView
}

// maxDay is how many clients the page of a day shows.
const maxDay = 300

// day answers with how far each client of a day got.
func (b *Board) day(w http.ResponseWriter, r *http.Request) {
	day, err := time.Parse(time.DateOnly, r.URL.Query().Get("date"))
	if err != nil {
		day = b.Now().UTC().Truncate(24 * time.Hour)
	}
	p := dayPage{
		frame: b.frame("All clients of " + day.Format("2 January 2006")),
		Day:   day,
		Steps: steps,
	}

	for _, s := range b.Lab.Sessions() {
		h, err := b.hub(r.Context(), s.ID)
		if err != nil {
			continue // it has ended
		}
		h.look(func(of *view) {
			p.add(b, s, of)
		})
	}

	b.show(w, r, http.StatusOK, "day", p)
}

// add adds the clients of a session that came on the day.
func (p *dayPage) add(b *Board, s lab.Session, of *view) {
	v := &visit{
		Board:   b,
		Session: s,
	}

	for _, l := range of.order {
		if l.LastSeen.Before(p.Day) || !l.FirstSeen.Before(p.Day.AddDate(0, 0, 1)) {
			continue
		}
		if len(p.Clients) >= maxDay {
			p.More++
			continue
		}

		copied := *l // the page is written when the view may have changed
		line := v.laneOf(&copied)
		for i, c := range line.Cells {
			if c.Card != nil {
				card := *c.Card
				line.Cells[i].Card = &card
			}
		}

		p.Clients = append(p.Clients, dayClient{
			Session: s,
			Lane:    line,
		})
	}
}

// requestsPage is a list of requests, the newest first.
type requestsPage struct {
	frame
	Page   string
	Lane   string
	Name   string
	Step   string
	Found  items
	Before uint64 // where the next page begins; 0: there is none
}

// Bounds of a list of requests.
const (
	listed  = 50
	scanned = 2000 // are looked through for one page
)

// requests answers with the requests of a lane, a step or all.
func (v *visit) requests(w http.ResponseWriter, r *http.Request) {
	h, err := v.hub(r.Context(), v.Session.ID)
	if err != nil {
		v.fail(w, r, http.StatusInternalServerError, "The session could not be read.")
		return
	}

	q := r.URL.Query()
	p := requestsPage{
		frame: v.frame("Requests", "requests"),
		Page:  v.root(),
		Lane:  q.Get("lane"),
		Step:  q.Get("step"),
	}

	before, _ := strconv.ParseUint(q.Get("before"), 10, 64)
	h.look(func(b *view) {
		if before == 0 || before > b.last {
			before = b.last + 1
		}
		for _, l := range b.order {
			if l.ID == p.Lane {
				p.Name = l.Name
			}
		}
	})

	if err := v.collect(r, &p, h, before); err != nil {
		v.fail(w, r, http.StatusInternalServerError, "The requests could not be read.")
		return
	}
	v.show(w, r, http.StatusOK, "requests", p)
}

// collect fills a page with requests before a number.
func (v *visit) collect(r *http.Request, p *requestsPage, h *hub, before uint64) error {
	p.Found = v.items(nil)
	end := before
	for len(p.Found.List) < listed && end > 1 && before-end < scanned {
		first := uint64(1)
		if end > replay {
			first = end - replay
		}
		kept, err := v.Lab.Exchanges(r.Context(), v.Session.ID, first, int(end-first))
		if err != nil {
			return err
		}

		end = first
		var list []item
		for _, k := range slices.Backward(kept) {
			e := newEntry(k)
			list = append(list, newItem(&e))
		}
		h.look(func(b *view) {
			list = b.named(list)
		})

		for _, it := range list {
			if p.Lane != "" && it.LaneID != p.Lane || p.Step != "" && string(it.Step) != p.Step {
				continue
			}
			if len(p.Found.List) == listed {
				p.Before = it.N + 1
				return nil
			}
			p.Found.List = append(p.Found.List, it)
		}
	}

	if end > 1 {
		p.Before = end
	}
	return nil
}
