package assess

import (
	"net/url"
	"strings"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// request is an exchange, parsed as far as it can be.
type request struct {
	*conform.Exchange
	place  place
	header fields
	query  url.Values
	form   url.Values
	body   jose.Object // a body that is a JSON object

	grant string // grant_type
	doc   *document

	answered fields
	answer   jose.Object

	lane     *lane
	stale    bool // it has a token that was issued here and counts no longer
	findings []conform.Finding
}

// fields are the fields of a message's head, by their names in small letters.
type fields map[string][]string

// get returns the first value of a field.
func (f fields) get(name string) string {
	if len(f[name]) == 0 {
		return ""
	}
	return f[name][0]
}

// maxFields bounds how many lines of a head are read.
const maxFields = 200

// parseHead reads the fields of a head. Lines that are no fields are left out.
func parseHead(head []byte) fields {
	out := fields{}
	n := 0
	for line := range strings.Lines(string(head)) {
		n++
		name, value, ok := strings.Cut(line, ":")
		if n == 1 || !ok {
			continue
		}
		if n > maxFields {
			break
		}

		name = strings.ToLower(strings.TrimSpace(name))
		out[name] = append(out[name], strings.TrimSpace(value))
	}

	return out
}

// parse reads what an exchange has.
func (s Setting) parse(x *conform.Exchange) *request {
	r := &request{
		Exchange: x,
		place:    s.locate(x.Target),
		header:   parseHead(x.Request.Head),
		answered: parseHead(x.Answer.Head),
	}
	_, query, _ := strings.Cut(x.Target, "?")
	r.query = parseForm(query)

	switch r.place {
	case register:
		r.body, _ = jose.ParseObject(x.Request.Body)
		if compact, ok := r.body.Text("software_statement"); ok {
			r.doc = decode(statement, compact)
		}
	case token, revoke, introspect, authorize, pages:
		r.form = parseForm(string(x.Request.Body))
		r.grant = r.form.Get("grant_type")
		if compact := r.form.Get("client_assertion"); compact != "" {
			r.doc = decode(assertion, compact)
		}
	}

	if r.place != pages && r.place != authorize {
		r.answer, _ = jose.ParseObject(x.Answer.Body)
	}
	return r
}

// maxParameters bounds the parameters of a form that are read.
const maxParameters = 100

// parseForm reads a form or a query as far as it can be read.
func parseForm(s string) url.Values {
	if strings.Count(s, "&") > maxParameters {
		return url.Values{}
	}
	values, _ := url.ParseQuery(s)
	return values
}

// parameter returns a parameter of an authorization request, which is a GET or a
// POST (RFC 6749 3.1).
func (r *request) parameter(name string) string {
	if v := r.query.Get(name); v != "" {
		return v
	}
	return r.form.Get(name)
}

func (r *request) succeeded() bool { return r.Status >= 200 && r.Status < 300 }

// failed reports whether the destination, and not the client, is why there was no
// result.
func (r *request) failed() bool {
	return r.Status == 0 || r.Status >= 500 || r.Status == 429 || r.Cut
}

// step returns the last step of the traces that has a check's name.
func (r *request) step(check string) (trace.Step, bool) {
	for i := len(r.Traces) - 1; i >= 0; i-- {
		if r.Traces[i] == nil {
			continue
		}
		for _, s := range r.Traces[i].Steps {
			if s.Check == check {
				return s, true
			}
		}
	}

	return trace.Step{}, false
}

// passed reports whether the destination's own check passed.
func (r *request) passed(check string) bool {
	s, ok := r.step(check)
	return ok && s.Verdict == trace.Passed
}

// found returns whether an exchange already has a finding about a row that is not
// that it was shown.
func (r *request) found(row string) *conform.Finding {
	for i := range r.findings {
		f := &r.findings[i]
		if f.Row == row && f.Verdict != conform.Shown {
			return f
		}
	}
	return nil
}

// maxFindings bounds the findings of one exchange.
const maxFindings = 120

// shows records that the exchange shows rows.
func (r *request) shows(rows ...string) {
	for _, id := range rows {
		r.add(conform.Finding{
			Row:     id,
			Verdict: conform.Shown,
		})
	}
}

// mistake is what a client did, in words.
type mistake struct {
	text     string
	expected string
	found    string
	remedy   string
}

// violates records that the exchange violates a row; a row that is no obligation is
// a warning.
func (r *request) violates(row string, m mistake) {
	verdict := conform.Violated
	if of, _ := conform.Lookup(row); of.Level == "SHOULD" {
		verdict = conform.Warned
	}
	r.add(conform.Finding{
		Row:      row,
		Verdict:  verdict,
		Text:     m.text,
		Expected: trace.Cut(m.expected, 2*maxShown),
		Found:    trace.Cut(m.found, 2*maxShown),
		Remedy:   m.remedy,
	})
}

// warns records what a row would rather have otherwise; the row may be empty.
func (r *request) warns(row, text, remedy string) {
	r.add(conform.Finding{
		Row:     row,
		Verdict: conform.Warned,
		Text:    text,
		Remedy:  remedy,
	})
}

// add records a finding. Of several about one row the gravest counts.
func (r *request) add(f conform.Finding) {
	f.Exchange = r.N
	for _, text := range []*string{&f.Text, &f.Expected, &f.Found, &f.Remedy} {
		*text = bounded(*text)
	}

	for i := range r.findings {
		if old := &r.findings[i]; old.Row == f.Row && f.Row != "" {
			if gravity[f.Verdict] > gravity[old.Verdict] {
				*old = f
			}
			return
		}
	}
	if len(r.findings) < maxFindings {
		r.findings = append(r.findings, f)
	}
}

// bounded returns a text that any reader of JSON can read, cut after maxText bytes:
// parts of it may be a client's.
func bounded(s string) string {
	const maxText = 600
	return trace.Cut(strings.ToValidUTF8(s, "\uFFFD"), maxText)
}

var gravity = map[conform.Verdict]int{
	conform.Shown:    1,
	conform.Warned:   2,
	conform.Violated: 3,
}

// complete adds what the destination found about the same mistake.
func complete(f *conform.Finding, s trace.Step) {
	f.Check = s.Check
	if f.Expected == "" {
		f.Expected = s.Expected
	}
	if f.Found == "" {
		f.Found = s.Found
	}
	if f.Remedy == "" {
		f.Remedy = s.Remedy
	}
}

// refused reports whether the destination's own check refused.
func (r *request) refused(check string) bool {
	s, ok := r.step(check)
	return ok && isRefusal(s)
}

// warned reports whether the destination's own check accepted something with a warning.
func (r *request) warned(check string) bool {
	s, ok := r.step(check)
	return ok && s.Verdict == trace.Warned
}

// expected returns what the destination's own check expected.
func (r *request) expected(check string) string {
	s, _ := r.step(check)
	return s.Expected
}
