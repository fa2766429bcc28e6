package postgres_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

const searchedPatients = 5

// searched has services with the same resources: the reference on files, and two
// destinations on one database.
type searched struct {
	t         *testing.T
	rnd       *rand.Rand
	now       time.Time
	reference http.Handler
	one, two  http.Handler
	bodies    map[string][]*tree.Value // by type, as they were first
	before    map[string][]question    // by type
	types     []string

	asked    int
	answered int // with success
	more     int // pages that followed
	found    int // resources that matched
}

func newSearched(t *testing.T) *searched {
	w := &searched{
		t:      t,
		rnd:    rand.New(rand.NewPCG(14, 7)),
		now:    time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		bodies: map[string][]*tree.Value{},
		before: map[string][]question{},
	}
	files, err := bolt.OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})

	at := postgrestest.New(t)
	w.reference = w.serve(files, searchedPatients)
	w.one = w.serve(openFHIR(t, postgres.Config{URL: at, Name: "one"}), searchedPatients)
	// The second keeps next to nothing in memory.
	w.two = w.serve(openFHIR(t, postgres.Config{URL: at, Name: "two", Cache: 1}), 0)

	err = sample.Generate(searchedPatients, func(typ, _ string, body []byte) error {
		root, err := tree.Parse(body)
		w.bodies[typ] = append(w.bodies[typ], root)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for typ := range w.bodies {
		w.types = append(w.types, typ)
	}
	slices.Sort(w.types)
	return w
}

// serve starts a service on a store. A request's token is its scopes, and after a
// semicolon the patient whom it is limited to.
func (w *searched) serve(s fhir.Store, patients int) *fhir.Service {
	w.t.Helper()
	h, err := fhir.New(fhir.Config{
		PublicBase: "https://fhir.test/fhir",
		Store:      s,
		Now:        func() time.Time { return w.now },
		Authorize: func(r *http.Request) (*fhir.Grant, *fhir.Denial) {
			text, patient, _ := strings.Cut(r.Header.Get("Authorization"), ";")
			scopes, _ := scope.ParseSet(strings.Fields(text))
			return &fhir.Grant{
				Scopes:  scopes,
				Client:  "client-1",
				Patient: patient,
			}, nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := h.Close(); err != nil {
			w.t.Error(err)
		}
	})

	if err := h.Seed(w.t.Context(), patients); err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *searched) pick(of ...string) string { return of[w.rnd.IntN(len(of))] }

// value is something that a resource has, in the form of a search by kind.
type value struct {
	path string // names of elements in lower case
	kind search.Kind
	text string
}

var (
	looksDate   = regexp.MustCompile(`^\d{4}-\d\d(-\d\d(T.*)?)?$`)
	looksURI    = regexp.MustCompile(`^(https?:|urn:)`)
	escapeParam = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`)
)

// valuesOf appends what a resource, or an element of it, has.
func valuesOf(all []value, path string, v *tree.Value) []value {
	path += strings.ToLower(v.Name)
	add := func(kind search.Kind, text string) {
		all = append(all, value{path, kind, text})
	}

	for i := range v.Items {
		all = valuesOf(all, path, &v.Items[i])
	}

	system := v.Get("system").Text()
	code := escapeParam.Replace(v.Get("code").Text())
	number := v.Get("value").Literal()
	switch {
	case v.Kind == tree.Object && v.Get("value") != nil && v.Get("value").Kind == tree.Number:
		add(search.Quantity, number)
		add(search.Quantity, number+"|"+system+"|"+code)
		add(search.Number, number)
	case v.Kind == tree.Object && system != "":
		code = cmp.Or(code, escapeParam.Replace(number))
		add(search.Token, system+"|"+code)
		add(search.Token, system+"|")
		add(search.Token, code)
	case v.Kind == tree.True || v.Kind == tree.False:
		add(search.Token, v.Raw)
	}

	text := v.Text()
	switch {
	case text == "" || len(text) > 100:
	case v.Name == "reference":
		add(search.Reference, text)
		_, id, _ := strings.Cut(text, "/")
		add(search.Reference, id)
	case looksDate.MatchString(text):
		add(search.Date, text)
		add(search.Date, text[:7])
		add(search.Date, text[:4])
	case looksURI.MatchString(text):
		add(search.URI, text)
	default:
		add(search.Token, escapeParam.Replace(text))
		add(search.String, escapeParam.Replace(text[:min(len(text), 4)]))
		add(search.String, escapeParam.Replace(text))
	}
	return all
}

// param returns a random parameter of a type with a value that some resource has.
func (w *searched) param(typ string) (name, text string) {
	for {
		params := search.Params(typ)
		p := params[w.rnd.IntN(len(params))]
		if w.rnd.IntN(15) == 0 && p.Code[0] != '_' {
			return p.Code + ":missing", w.pick("true", "false")
		}

		of := w.bodies[typ]
		near, _, _ := strings.Cut(strings.TrimLeft(p.Code, "_"), "-")
		all := slices.DeleteFunc(valuesOf(nil, "", of[w.rnd.IntN(len(of))]), func(v value) bool {
			return v.kind != p.Kind || !strings.Contains(v.path, near)
		})
		if len(all) == 0 {
			continue
		}

		text := all[w.rnd.IntN(len(all))].text
		switch p.Kind {
		case search.Token:
			if p.Code[0] == '_' {
				return p.Code, text
			}
			return p.Code + w.pick("", "", ":not"), text
		case search.String:
			return p.Code + w.pick("", ":exact", ":contains"), text
		case search.Date, search.Quantity, search.Number:
			return p.Code, w.pick("", "", "ne", "lt", "le", "gt", "ge", "ap") + text
		}
		return p.Code, text
	}
}

// through returns a parameter that leads through another type.
func (w *searched) through(typ string) (name, text string) {
	if w.rnd.IntN(2) == 0 {
		from := w.pick(w.types...)
		for _, p := range search.Params(from) {
			if p.Kind == search.Reference && slices.Contains(p.Targets, typ) && w.rnd.IntN(2) == 0 {
				name, text = w.param(from)
				return "_has:" + from + ":" + p.Code + ":" + name, text
			}
		}
	}

	for _, p := range search.Params(typ) {
		if p.Kind != search.Reference || w.rnd.IntN(2) == 0 {
			continue
		}
		for _, to := range p.Targets {
			if len(w.bodies[to]) > 0 {
				name, text = w.param(to)
				return p.Code + ":" + to + "." + name, text
			}
		}
	}
	return w.param(typ)
}

// query returns a random search of a type.
func (w *searched) query(typ string) string {
	values := url.Values{}
	for range w.rnd.IntN(3) {
		name, text := w.param(typ)
		if _, second := w.param(typ); !strings.Contains(name, ":") && w.rnd.IntN(3) == 0 {
			text += "," + second
		}
		values.Add(name, text)
	}
	if w.rnd.IntN(3) == 0 {
		values.Add(w.through(typ))
	}

	w.shape(typ, values)
	return typ + "?" + values.Encode()
}

// shape adds in what order and form results are returned.
func (w *searched) shape(typ string, values url.Values) {
	if w.rnd.IntN(2) == 0 {
		params := search.Params(typ)
		by := params[w.rnd.IntN(len(params))].Code
		values.Set("_sort", w.pick("", "-")+by+w.pick("", ",-_lastUpdated", ",_id"))
	}
	if w.rnd.IntN(5) == 0 {
		values.Set("_include", w.pick("*", typ+":subject", typ+":patient", typ+":encounter"))
	}
	if w.rnd.IntN(5) == 0 {
		values.Set("_revinclude", w.pick("Observation:patient", "Observation:encounter", "Provenance:target"))
	}

	values.Set("_count", w.pick("1", "3", "7", "20", "20"))
	if w.rnd.IntN(10) == 0 {
		values.Set("_summary", w.pick("count", "true", "text"))
	}
	if w.rnd.IntN(2) == 0 {
		values.Set("_total", w.pick("accurate", "none"))
	}
}

// reader returns a random token for searches of a type.
func (w *searched) reader(typ string) string {
	return w.pick(
		"system/*.rs",
		"system/*.rs",
		"patient/*.rs;"+w.patient(),
		"system/*.r system/Observation.rs?category=laboratory system/Condition.rs system/"+typ+".s",
		"system/Observation.rs?category=vital-signs patient/"+typ+".rs;"+w.patient(),
	)
}

func (w *searched) patient() string {
	of := w.bodies["Patient"]
	return of[w.rnd.IntN(len(of))].Get("id").Text()
}

var (
	nextLink = regexp.MustCompile(`\{"relation":"next","url":"https://fhir\.test/fhir([^"]*)"\}`)
	aPage    = regexp.MustCompile(`_page=[\w-]+`)
)

func send(h http.Handler, method, path, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://fhir.test/fhir"+path, strings.NewReader(body))
	r.Header.Set("Authorization", token)
	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// pages returns the answer to a search and the pages that follow it, at most four, and
// without what names a page. All but the first are those of the second handler.
func (w *searched) pages(first, rest http.Handler, q question) (all []string) {
	h := first
	for path := "/" + q.query; path != "" && len(all) < 4; h = rest {
		got := send(h, http.MethodGet, path, q.token, "")
		body := got.Body.String()
		path = ""
		if next := nextLink.FindStringSubmatch(body); next != nil {
			path = next[1]
		}
		all = append(all, fmt.Sprint(got.Code, " ", aPage.ReplaceAllString(body, "_page")))
	}
	return all
}

// compare searches n times, in all three.
func (w *searched) compare(n int) {
	w.t.Helper()
	for range n {
		typ := w.pick(w.pick(w.types...), "Patient", "Observation", "Condition", "Encounter")
		q := question{w.query(typ), w.reader(typ)}
		w.before[typ] = append(w.before[typ], q)
		w.ask(q)
	}
}

// again does up to n of the searches of a type that were done before.
func (w *searched) again(typ string, n int) {
	w.t.Helper()
	all := w.before[typ]
	for _, i := range w.rnd.Perm(len(all))[:min(n, len(all))] {
		w.ask(all[i])
	}
}

type question struct{ query, token string }

func (w *searched) ask(q question) {
	w.t.Helper()
	want := w.pages(w.reference, w.reference, q)
	w.count(want)
	w.same("one", w.pages(w.one, w.two, q), want, q)
	w.same("two", w.pages(w.two, w.one, q), want, q)
}

// count counts what is asked for, and found.
func (w *searched) count(pages []string) {
	w.asked++
	if strings.HasPrefix(pages[0], "200") {
		w.answered++
	}
	w.more += len(pages) - 1
	w.found += strings.Count(strings.Join(pages, ""), `"mode":"match"`)
}

func (w *searched) same(name string, got, want []string, q question) {
	w.t.Helper()
	for i := range max(len(got), len(want)) {
		if i == len(got) || i == len(want) || got[i] != want[i] {
			w.t.Fatalf("%s, %s, as %q: page %d of %d, want %d pages:\n%s\nwant\n%s", name, q.query, q.token,
				i, len(got), len(want), short(got, i), short(want, i))
		}
	}
}

// short returns the resources that a page has.
func short(pages []string, i int) string {
	if i >= len(pages) {
		return "none"
	}
	page := pages[i]
	urls := regexp.MustCompile(`"total":\d+|"fullUrl":"[^"]*"|"mode":"[a-z]*"`).FindAllString(page, -1)
	return fmt.Sprint(page[:min(len(page), 300)], "\n", urls)
}

// change makes the same change in both stores: through the second destination.
func (w *searched) change(typ string) {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	of := w.bodies[typ]
	path := "/" + typ + "/" + of[w.rnd.IntN(len(of))].Get("id").Text()
	method := http.MethodDelete
	body := ""
	if w.rnd.IntN(3) > 0 {
		// Another resource's content under this id.
		root := of[w.rnd.IntN(len(of))]
		method = http.MethodPut
		body = strings.Replace(root.Raw, root.Get("id").Raw, `"`+filepath.Base(path)+`"`, 1)
	}

	w.write(w.two, method, path, body)
}

// write sends a change to one of the destinations, and the same to the reference.
func (w *searched) write(to http.Handler, method, path, body string) {
	w.t.Helper()
	want := send(w.reference, method, path, "system/*.cruds", body)
	got := send(to, method, path, "system/*.cruds", body)
	if got.Code != want.Code || got.Body.String() != want.Body.String() {
		w.t.Errorf("%s %s: %d %s, want %d %s", method, path, got.Code, got.Body, want.Code, want.Body)
	}
}

// A search of resources on a database finds what one on files does, in the same order
// and for the same reader, page by page: also what another destination has changed or
// deleted just before, and whether or not the destination has it in memory.
func TestSearchesFindWhatThoseOnFilesDo(t *testing.T) {
	w := newSearched(t)
	w.compare(250)
	for range 60 {
		typ := w.pick(w.pick(w.types...), "Patient", "Observation", "Condition", "Encounter")
		w.change(typ)
		w.again(typ, 5)
		w.compare(1)
	}

	if w.answered < w.asked*8/10 || w.more < w.asked/3 || w.found < 3*w.asked {
		t.Errorf("of %d searches %d are answered, with %d further pages and %d resources",
			w.asked, w.answered, w.more, w.found)
	}
}
