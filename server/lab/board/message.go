package board

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/look"
	"fhirdest.example/udap/trace"
)

// wireText is a message as it was on the wire, for a page.
type wireText struct {
	Head   string
	Body   string
	Length int64
	Cut    bool    // the page has the beginning of the body only
	Binary bool    // the body is no text
	Form   []param // the parameters of a form
	SHA256 string
}

// param is one parameter of a form.
type param struct {
	Name  string
	Value string
}

func newWireText(m *conform.Message) wireText {
	w := wireText{
		Head:   strings.TrimRight(printable(m.Head), "\n"),
		Length: m.Length,
		Cut:    int64(len(m.Body)) < m.Length,
		SHA256: m.SHA256,
	}

	if !utf8.Valid(m.Body) {
		w.Binary = true
		return w
	}

	w.Body = printable(m.Body)
	if strings.Contains(strings.ToLower(w.Head), "application/x-www-form-urlencoded") {
		form, _ := url.ParseQuery(string(m.Body)) // what can be read of it
		for _, name := range slices.Sorted(maps.Keys(form)) {
			for _, value := range form[name] {
				w.Form = append(w.Form, param{
					Name:  look.VisibleTo(name, 200),
					Value: look.VisibleTo(value, 600),
				})
			}
		}
	}

	w.Form = w.Form[:min(len(w.Form), maxMembers)]

	return w
}

// printable makes a text of a message safe to read: what is not seen, or turns the
// direction of what follows, is a sign. Line ends stay.
func printable(text []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		ended := strings.TrimRight(line, "\r\n")
		b.WriteString(look.VisibleTo(strings.ReplaceAll(ended, "\t", "    "), conform.MaxKept))
		if len(ended) < len(line) {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// exchangePage is one request with all that is known about it.
type exchangePage struct {
	frame
	Entry   *entry
	Lane    *laneView
	Page    string
	Newer   uint64
	Older   uint64
	Request wireText
	Answer  wireText
	Tokens  []*signed // of the request
	Given   []*signed // of the answer
	Echoed  []string  // where the answer has JWTs of the request again
	Journey *journey
	Checks  []decision
}

// decision is a trace on the page: what was refused, noted or warned of first, then
// what passed.
type decision struct {
	Trace   *trace.Trace
	Notable []trace.Step
	Passed  []trace.Step
}

func newDecision(t *trace.Trace) decision {
	d := decision{Trace: t}
	for _, s := range t.Steps {
		switch s.Verdict {
		case trace.Refused, trace.Observed, trace.Warned:
			d.Notable = append(d.Notable, s)
		default:
			d.Passed = append(d.Passed, s)
		}
	}
	return d
}

// exchange answers with the page of one request.
func (v *visit) exchange(w http.ResponseWriter, r *http.Request, number string) {
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != number {
		v.Missing.ServeHTTP(w, r)
		return
	}

	kept, err := v.Lab.Exchanges(r.Context(), v.Session.ID, n, 2)
	if err != nil {
		v.fail(w, r, http.StatusInternalServerError, "The request could not be read.")
		return
	}
	if len(kept) == 0 || kept[0].N != n {
		v.fail(w, r, http.StatusNotFound, "There is no request with this number.")
		return
	}

	v.show(w, r, http.StatusOK, "exchange", v.exchangePage(r.Context(), kept))
}

// exchangePage decodes the first of some exchanges.
func (v *visit) exchangePage(ctx context.Context, kept []*lab.Kept) *exchangePage {
	e := newEntry(kept[0])
	x := e.Exchange
	p := &exchangePage{
		frame:   v.frame(title(e.Step)+", request "+strconv.FormatUint(x.N, 10), "requests"),
		Entry:   &e,
		Lane:    v.laneAt(ctx, e.Assessment.Lane),
		Page:    v.root(),
		Older:   x.N - 1,
		Request: newWireText(&x.Request),
		Answer:  newWireText(&x.Answer),
		Journey: travel(v.Evidence, x),
	}

	if len(kept) > 1 {
		p.Newer = kept[1].N
	}

	d := newDecoder(x, v.anchors())
	sent := tokensOf(&x.Request, x.Target)
	for _, f := range sent {
		p.Tokens = append(p.Tokens, d.decode(f))
	}
	for _, f := range tokensOf(&x.Answer, "") {
		if slices.Contains(sent, f) {
			p.Echoed = append(p.Echoed, f.where)
			continue
		}
		p.Given = append(p.Given, d.decode(f))
	}

	for _, t := range x.Traces {
		if t != nil {
			p.Checks = append(p.Checks, newDecision(t))
		}
	}

	return p
}

// laneAt returns the lane of a key; nil when there is none.
func (v *visit) laneAt(ctx context.Context, key string) (found *laneView) {
	h, err := v.hub(ctx, v.Session.ID)
	if err != nil {
		return nil
	}

	h.look(func(b *view) {
		if l := b.lanes[b.now(key)]; l != nil {
			copied := *l
			lane := v.laneOf(&copied)
			found = &lane
		}
	})

	return found
}
