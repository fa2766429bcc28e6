package accesstest

import (
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/async/asyncenv"
)

// shown checks that an answer shows nothing but what a token may read, before the
// request or after it, or what the request itself has stored.
func (w *world) shown(k *token, before *model, a *httptest.ResponseRecorder) {
	w.t.Helper()
	w.texts(k, before, a.Body.String())
	for _, name := range []string{"Location", "Content-Location"} {
		w.located(k, before, a.Header().Get(name))
	}
	if a.Code >= 500 {
		w.fail("%d %s", a.Code, a.Body)
	}

	var body any
	if json.Unmarshal(a.Body.Bytes(), &body) != nil {
		for line := range strings.Lines(a.Body.String()) { // a file of an export
			if json.Unmarshal([]byte(line), &body) == nil {
				w.resources(k, before, body)
			}
		}
		return
	}

	w.resources(k, before, body)
	if a.Code >= 400 {
		w.unnamed(k, before, a.Body.String())
	}
}

// texts checks the marks in a text.
func (w *world) texts(k *token, before *model, text string) {
	w.t.Helper()
	for _, mark := range marked.FindAllString(text, -1) {
		if strings.Contains(w.asked, mark) {
			continue
		}

		needs := masked
		if strings.HasPrefix(mark, "ms") {
			needs = whole
		}
		if !slices.ContainsFunc(w.marks[mark], func(h holder) bool {
			return w.sees(k, before, w.state[h.ref], h.n) >= needs
		}) {
			w.fail("the answer shows %s of %s", mark, w.holders(mark))
		}
	}
}

func (w *world) holders(mark string) (all []string) {
	for _, h := range w.marks[mark] {
		all = append(all, h.ref+"/"+strconv.FormatUint(h.n, 10))
	}
	return all
}

// sees is what a token sees of a version, in the state before a request or after it.
func (w *world) sees(k *token, before *model, r *record, n uint64) shows {
	sees := w.reads(k, r, n)
	if old := before.state[r.ref()]; old != nil && n <= old.now().n {
		sees = max(sees, before.reads(k, old, n))
	}
	return sees
}

// isNew reports whether a request has stored a version.
func (w *world) isNew(before *model, r *record, n uint64) bool {
	old := before.state[r.ref()]
	return old == nil || n > old.now().n
}

// resources checks every resource in a value.
func (w *world) resources(k *token, before *model, v any) {
	w.t.Helper()
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			w.resources(k, before, one)
		}
	case node:
		if typ, id, tag := text(v, "resourceType"), text(v, "id"), text(v, "meta", "versionId"); id != "" && tag != "" {
			w.resource1(k, before, typ+"/"+id, tag)
		}

		for name, one := range v {
			if name == "location" {
				w.located(k, before, text(v, name))
			}
			w.resources(k, before, one)
		}
	}
}

func (w *world) resource1(k *token, before *model, ref, tag string) {
	w.t.Helper()
	w.found++
	if kind(ref) == "AuditEvent" {
		w.fail("the answer has %s", ref)
		return
	}

	r, n := w.state[ref], uint64(0)
	if r != nil {
		n, _ = strconv.ParseUint(tag, 10, 64)
	}

	switch {
	case kind(ref) == "Bundle" && r == nil: // an answer
	case r == nil || n == 0 || n > r.now().n:
		w.fail("the answer has %s, version %s, which is not there", ref, tag)
	case !w.isNew(before, r, n) && w.sees(k, before, r, n) == hidden:
		w.fail("the answer has %s, version %d", ref, n)
	}
}

// located checks where an answer points to.
func (w *world) located(k *token, before *model, url string) {
	w.t.Helper()
	parts := strings.Split(strings.TrimPrefix(url, asyncenv.Base+"/"), "/")
	if len(parts) < 4 || parts[2] != "_history" {
		return
	}
	r := w.state[parts[0]+"/"+parts[1]]
	if n, err := strconv.ParseUint(parts[3], 10, 64); r == nil || err != nil || n > r.now().n ||
		!w.isNew(before, r, n) && w.sees(k, before, r, n) == hidden {
		w.fail("the answer points to %s", url)
	}
}

// unnamed checks that a refusal names nothing that is hidden and that the request did
// not name.
func (w *world) unnamed(k *token, before *model, text string) {
	w.t.Helper()
	for ref, r := range w.state {
		if len(r.id) > 5 && strings.Contains(text, r.id) && !strings.Contains(w.asked, r.id) &&
			w.sees(k, before, r, r.now().n) == hidden {
			w.fail("the refusal names %s: %s", ref, text)
		}
	}
}

// bundle is what is checked of a Bundle.
type bundle struct {
	Total *int `json:"total"`
	Link  []struct {
		Relation string `json:"relation"`
		URL      string `json:"url"`
	} `json:"link"`
	Entry []struct {
		FullURL  string `json:"fullUrl"`
		Resource struct {
			Type string `json:"resourceType"`
			ID   string `json:"id"`
			Meta struct {
				Version string `json:"versionId"`
			} `json:"meta"`
		} `json:"resource"`
		Search struct {
			Mode string `json:"mode"`
		} `json:"search"`
		Response struct {
			ETag string `json:"etag"`
		} `json:"response"`
	} `json:"entry"`
}

// pages follows a list through all its pages, and returns what is on them: Type/id, and
// in a history Type/id/version.
func (w *world) pages(k *token, a *httptest.ResponseRecorder) (total *int, matches, brought []string) {
	w.t.Helper()
	for n := 0; ; n++ {
		var b bundle
		if err := json.Unmarshal(a.Body.Bytes(), &b); err != nil || a.Code != 200 {
			w.t.Fatalf("%s: %v, %d %s", w.asked, err, a.Code, a.Body)
		}
		if n == 0 {
			total = b.Total
		}

		for _, e := range b.Entry {
			switch ref := strings.TrimPrefix(e.FullURL, asyncenv.Base+"/"); e.Search.Mode {
			case "match":
				matches = append(matches, ref)
			case "include":
				brought = append(brought, ref)
			case "":
				n, _, _ := strings.Cut(strings.Trim(strings.TrimPrefix(e.Response.ETag, "W/"), `"`), "-") // of a part
				matches = append(matches, ref+"/"+n)
			}
		}

		next := ""
		for _, l := range b.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}

		if next == "" || n > 500 {
			break
		}

		a = w.Do("GET", next, k.text, "", k.header()...)
		w.shown(k, w.model, a)
	}

	slices.Sort(matches)
	slices.Sort(brought)
	return total, matches, slices.Compact(brought)
}
