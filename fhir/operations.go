package fhir

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/fhir/access"
	matching "fhirdest.example/fhir/match"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/udap/trace"
)

// validateOperation answers POST [base]/Type[/id]/$validate: 200 with an
// OperationOutcome whenever there was something to validate (R4
// resource-operation-validate.html). The body is the resource, or Parameters
// with it.
func (s *reader) validateOperation(sn Snapshot, r *request) (*response, error) {
	typ := r.path[0]
	if err := r.access.MayOneOf(typ, scope.Read, scope.Create, scope.Update); err != nil {
		return nil, refusedAccess(err)
	}

	body, err := r.resourceBody()
	issues := []issue(nil)
	switch {
	case err == nil:
		issues = s.validateBody(body, typ)
	case asFailure(err).status == http.StatusUnsupportedMediaType:
		return nil, err
	default: // XML that is none of FHIR
		issues = asFailure(err).issues
	}

	if r.get("profile") != "" || r.get("mode") != "" {
		issues = append(issues, issue{
			severity: "warning",
			code:     "not-supported",
			detail:   "Judged by R4's own definitions: profile and mode are not looked at.",
		})
	}

	if len(issues) == 0 {
		issues = []issue{
			{
				severity: "information",
				code:     "informational",
				detail:   "No complaint.",
			},
		}
	}

	return &response{
		status: http.StatusOK,
		body:   outcome(issues),
	}, nil
}

func (s *reader) validateBody(body []byte, typ string) []issue {
	root, err := tree.Parse(body)
	if err == nil && root.Get("resourceType").Text() == "Parameters" && typ != "Parameters" {
		params := root.Get("parameter").Each()
		for i := range params {
			if res := params[i].Get("resource"); res != nil &&
				params[i].Get("name").Text() == "resource" {
				root, err = tree.Parse([]byte(res.Raw))
			}
		}
	}

	var head splice.Head
	if err == nil {
		head, err = splice.Read(root)
	}
	if err == nil && head.Type != typ {
		err = fail(http.StatusBadRequest, "invalid", "The resource is a "+head.Type+
			", the path says "+typ+".")
	}
	if err != nil {
		return asFailure(err).issues
	}

	return s.issues(root)
}

// prepareParameters reads the parameters of an operation's POST from its body, which
// is Parameters or empty (R4 operations.html 3.2.0.1).
func (s *reader) prepareParameters(r *request) error {
	if r.method != http.MethodPost || len(r.body) == 0 {
		return nil
	}

	body, err := r.resourceBody()
	if err != nil {
		return err
	}

	root, err := tree.Parse(body)
	if err != nil {
		return err
	}
	if root.Get("resourceType").Text() != "Parameters" {
		return fail(http.StatusBadRequest, "invalid", "The body is no Parameters.")
	}

	params := root.Get("parameter").Each()
	for i := range params {
		p := search.Pair{Name: params[i].Get("name").Text()}
		for j := range params[i].Items {
			switch m := &params[i].Items[j]; {
			case m.Name == "valueReference":
				p.Value = m.Get("reference").Text()
			case strings.HasPrefix(m.Name, "value"):
				p.Value = m.Literal()
			}
		}

		if hasControl(p.Name) || hasControl(p.Value) {
			return fail(
				http.StatusBadRequest,
				"value",
				"A parameter holds a control character.",
			)
		}
		r.query = append(r.query, p)
	}

	return nil
}

// everything answers GET and POST [base]/Patient/id/$everything: the patient, its
// compartment, and what these refer to outside it, as far as the grant reads.
func (s *reader) everything(sn Snapshot, r *request) (*response, error) {
	if r.path[0] != "Patient" {
		return nil, fail(
			http.StatusNotFound,
			"not-supported",
			"$everything is for Patient only.",
		)
	}

	patient, err := r.find(sn, scope.Read, "Patient", r.path[1])
	if err != nil {
		return nil, err
	}

	at := lookup{path: strings.Join(r.path[:3], "/")}
	pairs, m, err := s.openPage(r, at)
	if err != nil {
		return nil, err
	}

	w, err := readEverything(pairs, r.prefers("handling=strict"))
	if err != nil {
		return nil, err
	}

	docs, err := s.record(sn, r, patient, w)
	if err != nil {
		return nil, err
	}
	return s.everythingPage(sn, r, at, pairs, m, w, docs)
}

// everythingQuery is what $everything is asked for.
type everythingQuery struct {
	types      map[string]bool // nil for all
	since      time.Time
	start, end string
	count      int // 0 for all at once
}

func readEverything(pairs []search.Pair, strict bool) (everythingQuery, error) {
	var w everythingQuery
	err := readParameters(pairs, strict, func(p search.Pair) (known, ok bool) {
		switch p.Name {
		case "_type":
			w.types, ok = addTypes(w.types, p.Value)
		case "_since":
			w.since, _, ok = search.Instants(instant(p.Value))
		case "start":
			w.start, ok = readInstant(p.Value)
		case "end":
			w.end, ok = readInstant(p.Value)
		case "_count":
			w.count, ok = readCount(p.Value)
		default:
			return false, false
		}
		return true, ok
	})
	return w, err
}

// readParameters passes each parameter of an operation to set, which reports whether it
// knows the name, and can read the value. A parameter that it does not know is left
// out, or refused if strict.
func readParameters(
	pairs []search.Pair, strict bool, set func(search.Pair) (known, ok bool),
) error {
	for _, p := range pairs {
		if p.Name == "_format" || p.Name == "_pretty" {
			continue
		}
		if known, ok := set(p); known && !ok || !known && strict {
			return fail(
				http.StatusBadRequest,
				"value",
				"The value of "+p.Name+" cannot be read.",
			)
		}
	}
	return nil
}

// addTypes adds a list of types to those asked for, nil for all.
func addTypes(types map[string]bool, list string) (all map[string]bool, ok bool) {
	all, ok = types, true
	if all == nil {
		all = map[string]bool{}
	}

	for _, t := range strings.Split(list, ",") {
		ok = ok && search.IsType(t)
		all[t] = true
	}
	return all, ok
}

// instant restores the plus sign of an offset that was sent without its escape.
func instant(value string) string {
	return strings.ReplaceAll(value, " ", "+")
}

func readInstant(value string) (string, bool) {
	value = instant(value)
	_, _, ok := search.Instants(value)
	return value, ok
}

// readCount reads a count, which is at least 1.
func readCount(value string) (int, bool) {
	q := &search.Query{}
	err := search.SetCount(q, value)
	return max(q.Count, 1), err == nil
}

// dateParams are the parameters by which start and end of $everything bound
// clinical records.
var dateParams = []string{"date", "onset-date", "authoredon", "authored", "period"}

// record lists a patient's record in the order of numbers, the patient first:
// the whole of it, or an error.
func (s *reader) record(
	sn Snapshot, r *request, patient Entry, w everythingQuery,
) ([]uint64, error) {
	f := r.access.Restrict(r.ctx, sn, source{sn})
	f.Search = f.Read
	var docs []uint64

	for _, typ := range search.Types() {
		in, ok := search.InCompartment("Patient", patient.ID, typ)
		if !ok || typ == "Patient" || typ == "AuditEvent" || !r.access.Can(scope.Read, typ) {
			continue
		}

		q := &search.Query{
			Types:   []string{typ},
			Clauses: append(s.dateClauses(typ, w), in),
		}
		found, err := f.Find(q)
		if err != nil {
			return nil, err
		}

		docs = append(docs, found.Docs...)
	}

	more, err := f.Linked(append([]uint64{patient.Doc}, docs...), func(typ string) bool {
		return access.Shared(typ) || typ == "Binary"
	})
	if err != nil {
		return nil, err
	}

	docs = append(docs, more...)
	slices.Sort(docs)
	docs = append([]uint64{patient.Doc}, slices.Compact(docs)...)

	wanted := docs[:0]
	err = sn.Entries(r.ctx, docs, func(e Entry) bool {
		if (w.types == nil || w.types[e.Type]) && !e.Updated.Before(w.since) {
			wanted = append(wanted, e.Doc)
		}
		return true
	})
	return wanted, err
}

func (s *reader) dateClauses(typ string, w everythingQuery) []search.Clause {
	var all []search.Clause
	for _, code := range dateParams {
		if p := search.Lookup(typ, code); p == nil || p.Kind != search.Date {
			continue
		}

		for prefix, v := range map[string]string{
			"ge": w.start,
			"le": w.end,
		} {
			if c, err := s.queries.Plain(typ, code, prefix+v); v != "" && err == nil {
				all = append(all, c)
			}
		}

		break
	}

	return all
}

func (s *reader) everythingPage(
	sn Snapshot, r *request, at lookup, pairs []search.Pair, m mark, w everythingQuery, docs []uint64,
) (*response, error) {
	from := 0
	if len(m.position) == 8 {
		last := binary.BigEndian.Uint64(m.position)
		from = slices.Index(docs, last) + 1
		if from == 0 {
			return nil, badPage()
		}
	}

	to := len(docs)
	if w.count > 0 {
		to = min(to, from+w.count)
	}
	p := &page{
		at: at,
		q:  &search.Query{Used: pairs},
	}

	b := append([]byte(nil), `{"resourceType":"Bundle","type":"searchset","total":`...)
	b = append(strconv.AppendInt(b, int64(len(docs)), 10), `,"link":[`...)
	b = appendLink(b, "self", s.selfURL(at, pairs))

	if to < len(docs) {
		b = appendLink(append(b, ','), "next", s.pageURL(r, at, p.q, mark{
			'a',
			binary.BigEndian.AppendUint64(nil, docs[to-1]),
		}))
	}

	b = append(b, ']')
	if from == to { // an empty array is no FHIR
		return &response{
			status: http.StatusOK,
			body:   append(b, '}'),
		}, nil
	}

	b = append(b, `,"entry":[`...)
	start := len(b)
	b, err := s.appendDocs(b, start, sn, r, p, docs[from:to], "match")
	if err != nil {
		return nil, err
	}

	return &response{
		status: http.StatusOK,
		body:   r.notes.security.Mark(append(b, `]}`...)),
	}, nil
}

// Checks of Patient/$match, besides those of access.
var (
	checkMatchRate = trace.NewCheck("match.rate",
		"the client stays within its rate of matches", "ER-22")
	checkMatchInput = trace.NewCheck("match.input",
		"the input has what its IDI-Patient profile, or the least weight, asks for", "ER-22")
)

// prepareMatch reads the input of Patient/$match and holds it to the rules that
// keep people from being guessed: a scope of its own, a rate for each client, and
// the weight of the input.
func (s *reader) prepareMatch(r *request) error {
	if r.path[0] != "Patient" {
		return fail(http.StatusNotFound, "not-supported", "$match is for Patient only.")
	}

	for _, p := range []scope.Permission{scope.Match, scope.Read} {
		if err := r.may(p, "Patient"); err != nil {
			return err
		}
	}

	if s.MatchWait != nil {
		if wait := s.MatchWait(r.grant.Client, r.now); wait > 0 {
			return s.tooManyMatches(r, wait)
		}
	}

	body, err := r.resourceBody()
	if err != nil {
		return err
	}

	root, err := tree.Parse(body)
	if err != nil {
		return err
	}

	m, err := matching.ReadRequest(root)
	if err != nil {
		return s.refusedMatch(r, err)
	}

	patient, err := tree.Parse([]byte(m.Patient.Raw))
	if err != nil {
		return err
	}
	if f := s.validate(patient, validate.Options{}); f != nil {
		return f
	}
	if err := m.Check(); err != nil {
		return s.refusedMatch(r, err)
	}

	r.matching = m
	return nil
}

func (s *core) tooManyMatches(r *request, wait time.Duration) error {
	f := fail(http.StatusTooManyRequests, "throttled",
		"The client has asked for too many matches in a minute: try again later.")
	f.retry = int((wait + time.Second - 1) / time.Second)
	f.trace = s.refuse(r, checkMatchRate, trace.TemporarilyUnavailable, trace.Finding{
		Expected: "no more matches in a minute than the server allows a client",
		Found:    "one more, " + wait.Round(time.Second).String() + " early",
		Remedy:   "wait for the time in Retry-After; matching is not meant for whole lists of people",
	})
	return f
}

// refusedMatch is the answer to an input that cannot be used.
func (s *core) refusedMatch(r *request, err error) error {
	var e *matching.Error
	if !errors.As(err, &e) {
		return err
	}

	f := fail(http.StatusUnprocessableEntity, e.Code, e.Detail)
	f.issues[0].path = e.Expression
	if e.Form {
		f.status = http.StatusBadRequest
	}
	f.trace = s.refuse(r, checkMatchInput, trace.InvalidRequest, trace.Finding{
		Expected: "input that can be matched",
		Found:    e.Detail,
		Remedy:   "send more details of the person, in the elements that the answer names",
	})

	return f
}

// refuse hands the operator the trace of a refusal that is none of access, and
// returns its id.
func (s *core) refuse(r *request, c trace.Check, code trace.Code, found trace.Finding) string {
	t := trace.NewTrace("match", r.now)
	t.ClientID = trace.ClientID(r.grant.Client)
	t.Refuse(c, code, found)
	if s.Decided != nil {
		s.Decided(t)
	}
	return t.ID
}

// matchPatients answers POST [base]/Patient/$match (R4 patient-operation-match.html
// with the rules of the Identity Matching guide): the patients that the input most
// likely describes, of those that the grant reads.
func (s *reader) matchPatients(sn Snapshot, r *request) (*response, error) {
	var issues []issue
	docs, err := []uint64(nil), error(nil)
	if r.matching.Weight < matching.MinWeight {
		issues = append(issues, issue{
			severity: "warning",
			code:     "required",
			detail: fmt.Sprintf("No search was made: the input has a weight of %d and needs at least %d.",
				r.matching.Weight, matching.MinWeight),
		})
	} else {
		var broad bool
		docs, broad, err = s.matchCandidates(sn, r)
		if broad {
			issues = append(issues, issue{
				severity: "warning",
				code:     "too-costly",
				detail:   "Parts of the input match too many patients to compare them: send more details.",
			})
		}
	}

	if err != nil {
		return nil, err
	}

	all, err := s.compareCandidates(sn, r, docs)
	if err != nil {
		return nil, err
	}
	return s.matchBundle(sn, r, r.matching.Rank(all), issues)
}

// matchCandidates looks the input's blocks up. broad reports that some fit too many
// patients.
func (s *reader) matchCandidates(sn Snapshot, r *request) (docs []uint64, broad bool, err error) {
	f := r.access.Restrict(r.ctx, sn, source{sn})
	f.Search = f.Read

	for _, block := range r.matching.Person.Blocks() {
		var clauses []search.Clause
		for _, p := range block {
			if c, err := s.parserOf(r).Plain("Patient", p.Name, p.Value); err == nil {
				clauses = append(clauses, c)
			}
		}

		if len(clauses) < len(block) {
			continue // what cannot be written as a search is compared only
		}

		found, few, err := f.Few("Patient", clauses)
		if err != nil {
			return nil, false, err
		}

		broad = broad || !few
		docs = append(docs, found...)
		if len(docs) > matching.MaxCandidates {
			slices.Sort(docs)
			docs = slices.Compact(docs)
		}
		if len(docs) > matching.MaxCandidates {
			return docs[:matching.MaxCandidates], true, nil
		}
	}

	slices.Sort(docs)
	return slices.Compact(docs), broad, nil
}

// compareCandidates compares the candidates that the grant reads.
func (s *reader) compareCandidates(
	sn Snapshot, r *request, docs []uint64,
) (all []matching.Candidate, err error) {
	failed := sn.Entries(r.ctx, docs, func(e Entry) bool {
		var root *tree.Value
		if root, err = r.shownTree(sn, e); err != nil {
			return false
		}

		v := matching.Compare(r.matching.Person, matching.NewPerson(root))
		if v.Grade == matching.CertainlyNot {
			return true
		}

		var seen bool
		if seen, err = r.shows(sn, scope.Read, e); seen {
			all = append(all, matching.Candidate{
				Doc:     e.Doc,
				ID:      e.ID,
				Verdict: v,
			})
		}

		return err == nil
	})
	return all, cmp.Or(err, failed)
}

// matchBundle writes what was found, each with its score and grade.
func (s *reader) matchBundle(
	sn Snapshot, r *request, ranked matching.Ranked, issues []issue,
) (*response, error) {
	b := append([]byte(nil), `{"resourceType":"Bundle","type":"searchset","total":`...)
	b = strconv.AppendInt(b, int64(len(ranked.Found)), 10)
	b = append(b, `,"link":[`...)
	b = append(appendLink(b, "self", s.PublicBase+"/Patient/$match"), `],"entry":[`...)

	start := len(b)
	for _, c := range ranked.Found {
		var err error
		p := &page{q: &search.Query{}}
		if b, err = s.appendDocs(b, start, sn, r, p, []uint64{c.Doc}, "match"); err != nil {
			return nil, err
		}
		b = appendScore(b, c)
	}

	if issues = append(issues, matchIssues(ranked)...); len(issues) > 0 {
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(append(b, `{"resource":`...), outcome(issues)...)
		b = append(b, `,"search":{"mode":"outcome"}}`...)
	}

	return &response{
		status: http.StatusOK,
		body:   r.notes.security.Mark(append(b, `]}`...)),
	}, nil
}

const matchGrade = "http://hl7.org/fhir/StructureDefinition/match-grade"

// appendScore puts a score and grade into the entry that b ends with.
func appendScore(b []byte, c matching.Candidate) []byte {
	const search = `"search":{"mode":"match"}}`
	b = append(b[:len(b)-len(search)], `"search":{"extension":[{"url":"`+matchGrade+`","valueCode":"`...)
	b = append(append(b, c.Grade...), `"}],"mode":"match","score":`...)
	return append(strconv.AppendFloat(b, c.Score, 'f', -1, 64), `}}`...)
}

// matchIssues explain what the Bundle has or does not have.
func matchIssues(ranked matching.Ranked) []issue {
	is := issue{
		severity: "information",
		code:     "informational",
	}
	switch {
	case ranked.Ambiguous:
		is.severity = "warning"
		is.code = "multiple-matches"
		is.detail = "More than one patient is a certain match, so none is returned: send more details."
	case ranked.More:
		is.detail = "More patients match than were asked for: these are the most likely ones."
	case len(ranked.Found) == 0:
		is.code = "not-found"
		is.detail = "No patient matches."

	default:
		return nil
	}

	return []issue{is}
}
