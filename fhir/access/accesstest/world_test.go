package accesstest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/export"
	"fhirdest.example/fhir/label"
)

// The codes of observations; the first is that of a test for HIV.
const hivTest = "7917-8"

var measured = []string{hivTest, "718-7", "8867-4", "2339-0"}

const (
	admin    = asyncenv.All + "; party=https://admin.test; purpose=TREAT"
	orgValue = "urn:oid:2.999"
	npiValue = "1999999950"
)

// world is a population by chance, with the service that has it.
type world struct {
	*asyncenv.Env
	*model
	t     *testing.T
	rnd   *rand.Rand
	marks map[string][]holder // what shows that a version was read
	at    uint64              // how far the store was read
	n     int                 // of marks and ids
	found int                 // resources in answers
	asked string              // the request, for messages
}

// holder is a version that has a mark.
type holder struct {
	ref string
	n   uint64
}

func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

func (w *world) chance(n int) bool { return w.rnd.IntN(n) == 0 }

// newWorld makes a population by chance, and then a policy.
func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{
		t:     t,
		rnd:   rand.New(rand.NewPCG(seed, 12)),
		marks: map[string][]holder{},
	}
	policy, consents := w.policy()

	var lenient bool
	w.Env = asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
			return map[string]async.Kind{"$export": export.New(export.Config{
				PublicBase: asyncenv.Base,
				Store:      e.Store,
				Service:    e.Service,
			})}
		}

		e.Change = func(c *fhir.Config) {
			c.Provenance = true
			c.Labels = policy
			if lenient {
				c.Consents = consents
			}
		}
	})

	w.populate()
	w.Env.Close()
	lenient = true
	w.Open()
	w.Run()
	w.refresh()

	return w
}

// policy is one by chance, as the service and as the model have it.
func (w *world) policy() (label.Policy, consent.Policy) {
	w.model = &model{
		state:   state{},
		rules:   !w.chance(4),
		glass:   pick(w.rnd, 0, restricted, restricted, veryRestricted),
		denied:  pick(w.rnd, "", "", "HMARKT", "TREAT", "*"),
		passes:  w.chance(2),
		masking: !w.chance(3),
		clearances: []clearance{
			{party: "https://one.test", level: restricted, codes: []string{"HIV"}},
			{org: orgValue, level: veryRestricted, codes: []string{"*"}},
			{party: "https://admin.test", level: restricted, codes: []string{"*"}},
		},
	}

	p := label.Policy{BreakGlass: map[int]string{
		0:              "none",
		restricted:     "R",
		veryRestricted: "V",
	}[w.glass]}

	for _, c := range w.clearances {
		p.Clearances = append(p.Clearances, label.Clearance{
			Client:        c.party,
			Organization:  c.org,
			Level:         levels[c.level],
			Sensitivities: c.codes,
			Relabel:       c.party == "https://admin.test",
		})
	}

	if w.rules {
		p.Rules = []label.Rule{
			{Codes: []string{loinc + "|" + hivTest}, Labels: []string{"R", "HIV"}},
			{Types: []string{"MedicationRequest"}, Labels: []string{reasonSystem + "|HTEST"}},
		}
	}

	if w.masking {
		p.Masks = []label.Mask{
			{Types: []string{"Patient"}, Elements: []string{"address"}},
			{Types: []string{"Observation"}, Elements: []string{"note"}, Labels: []string{"PSY"}},
		}
	}

	c := consent.Policy{BreakGlass: w.passes}
	if w.denied != "" {
		c.Denied = []string{w.denied}
	}
	return p, c
}

// populate stores resources without labels, with labels, and with former ones.
func (w *world) populate() {
	for ref, body := range map[string]node{
		"Organization/org1": {"identifier": identifier("", orgValue)},
		"Organization/org2": {"identifier": identifier("urn:y", "2")},
		"Practitioner/pra1": {"identifier": identifier("http://hl7.org/fhir/sid/us-npi", npiValue)},
		"Practitioner/pra2": {"identifier": identifier("urn:y", "3")},
		"Device/dev1":       {"identifier": identifier("urn:y", "https://one.test")},
	} {
		w.put(ref, w.resource(ref, body))
	}

	for i := range patientCount {
		w.put(patientRef(i), w.fresh(patientRef(i)))
	}

	for i, typ := range kinds {
		for range howMany[i] {
			ref := typ + "/" + w.id()
			if former := w.fresh(ref); w.chance(3) && !strings.Contains(jsonOf(former), `"code":"V"`) {
				w.put(ref, former)
			}
			w.put(ref, w.fresh(ref))
		}
	}

	w.refresh()
	for _, typ := range []string{"Observation", "DocumentReference"} {
		for _, r := range w.state.of(typ)[:2] {
			ref := "Binary/" + w.id()
			w.put(ref, w.resource(ref, node{"securityContext": node{"reference": r.ref()}}))
		}
	}

	for i := range patientCount {
		w.put(fmt.Sprint("Consent/con", i), w.fresh(fmt.Sprint("Consent/con", i)))
	}
}

const patientCount = 4

func patientRef(i int) string { return fmt.Sprintf("Patient/p%05dq", i) }

// kinds are what is made by chance, and howMany of each.
var (
	kinds = []string{
		"Observation", "Encounter", "Condition", "DocumentReference", "MedicationRequest",
		"Device", "Bundle",
	}
	howMany = []int{24, 6, 8, 5, 5, 3, 3}
)

func identifier(system, value string) []any {
	id := node{"value": value}
	if system != "" {
		id["system"] = system
	}
	return []any{id}
}

// id is a new one; with w in the place of its q it is of nothing.
func (w *world) id() string {
	w.n++
	return fmt.Sprintf("x%05dq", w.n)
}

func (w *world) mark(kind string) string {
	w.n++
	return fmt.Sprintf("%s%05dz", kind, w.n)
}

// put stores a resource past chance.
func (w *world) put(ref string, body node) {
	w.t.Helper()
	if a := w.Do("PUT", "/"+ref, admin, jsonOf(body)); a.Code >= 300 {
		w.t.Fatalf("PUT %s: %d %s", ref, a.Code, a.Body)
	}
}

func jsonOf(v any) string {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return string(text)
}

// resource adds to a body what every one has: its type, its id, and a mark.
func (w *world) resource(ref string, body node) node {
	typ, id, _ := strings.Cut(ref, "/")
	out := maps.Clone(body)
	out["resourceType"], out["id"] = typ, id

	switch typ {
	case "Binary":
		out["contentType"] = "text/plain"
		out["data"] = base64.StdEncoding.EncodeToString([]byte(w.mark("mk")))
	case "Bundle":
		out["identifier"] = node{"system": "urn:m", "value": w.mark("mk")}
	default:
		out["extension"] = []any{node{"url": "urn:mark", "valueString": w.mark("mk")}}
	}

	return out
}

// security is labels by chance.
func (w *world) security() []any {
	all := []any{}
	for _, c := range []code{
		{levelSystem, pick(w.rnd, "R", "R", "V", "N", "M", "strange")},
		{actSystem, pick(w.rnd, "HIV", "PSY", "PSY", "DELAU", "NOSUCHCODE")},
		{reasonSystem, "HTEST"},
	} {
		if w.chance(4) {
			all = append(all, node{"system": c.system, "code": c.code})
		}
	}

	return all
}

// fresh is a resource by chance.
func (w *world) fresh(ref string) node {
	subject := node{"reference": patientRef(w.rnd.IntN(patientCount))}
	source := node{"reference": pick(w.rnd, "Practitioner/pra1", "Practitioner/pra2", "Organization/org1",
		patientRef(w.rnd.IntN(patientCount)))}
	coded := node{"coding": []any{node{"system": loinc, "code": pick(w.rnd, measured...)}}}
	when := fmt.Sprintf("20%d-03-0%dT10:00:00Z", 15+w.rnd.IntN(11), 1+w.rnd.IntN(9))

	body := map[string]node{
		"Patient": {"gender": pick(w.rnd, "female", "male"), "birthDate": "1970-01-02",
			"name":    []any{node{"family": pick(w.rnd, "Doe", "Roe"), "given": []any{"Ann"}}},
			"address": []any{node{"city": pick(w.rnd, "Aville", "Bville"), "text": w.mark("ms")}}},
		"Observation": {"status": pick(w.rnd, "final", "amended"), "code": coded, "subject": subject,
			"category": []any{node{"coding": []any{node{
				"system": "http://terminology.hl7.org/CodeSystem/observation-category",
				"code":   pick(w.rnd, "laboratory", "vital-signs")}}}},
			"note": []any{node{"text": w.mark("ms")}}},
		"Encounter": {"status": "finished", "subject": subject,
			"class": node{"system": actSystem, "code": "AMB"}},
		"Condition": {"subject": subject, "code": coded},
		"DocumentReference": {
			"status":  "current",
			"subject": subject,
			"content": []any{node{"attachment": node{"title": "t"}}},
		},
		"MedicationRequest": {"status": "active", "intent": "order", "subject": subject,
			"medicationCodeableConcept": node{"text": "m"}},
		"Device": {"patient": subject},
		"Bundle": {"type": "collection"},
	}[kind(ref)]

	for name, value := range sorted(
		map[string]any{"Observation effectiveDateTime": when, "Observation performer": []any{source},
			"Condition recordedDate": when, "Condition asserter": source, "DocumentReference date": when,
			"MedicationRequest authoredOn": when, "MedicationRequest requester": source}) {
		typ, element, _ := strings.Cut(name, " ")
		if element == "requester" || element == "asserter" { // no organization
			value = node{"reference": "Practitioner/pra1"}
		}
		if kind(ref) == typ && w.chance(2) {
			body[element] = value
		}
	}

	switch kind(ref) {
	case "Consent":
		return w.resource(ref, w.consent(subject))
	case "Bundle":
		in := w.fresh("Observation/" + w.id())
		body["entry"] = []any{node{"fullUrl": "urn:uuid:6b2a0b26-0f1f-4d5a-9a0e-0d6ed2f0a001", "resource": in}}
	}

	if body == nil { // of a type that no request changes
		body = node{}
	}
	if security := w.security(); len(security) > 0 {
		body["meta"] = node{"security": security}
	}

	return w.resource(ref, body)
}

// consent is one by chance.
func (w *world) consent(subject node) node {
	coding := func(system, code string) node {
		return node{"coding": []any{node{"system": system, "code": code}}}
	}
	c := node{
		"status":     pick(w.rnd, "active", "active", "active", "inactive"),
		"scope":      coding("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
		"category":   []any{coding(loinc, "59284-0")},
		"patient":    subject,
		"policyRule": coding(actSystem, pick(w.rnd, "OPTIN", "OPTIN", "OPTOUT", "OPTIN", "NOPP")),
	}

	if !w.chance(6) {
		c["provision"] = w.provision(2)
	}
	if w.chance(12) {
		c["modifierExtension"] = []any{node{"url": "urn:x", "valueBoolean": true}}
	}

	return c
}

// provision is one by chance, at most so deep.
func (w *world) provision(depth int) node {
	one := func(system, code string) []any { return []any{node{"system": system, "code": code}} }
	p := node{"type": pick(w.rnd, "permit", "deny")}
	for name, value := range sorted(map[string]any{
		"purpose": one(reasonSystem, pick(w.rnd, "TREAT", "ETREAT", "HMARKT", "HOPERAT", "PATRQT")),
		"class": one("http://hl7.org/fhir/resource-types",
			pick(w.rnd, "Observation", "Encounter", "Patient", "Condition",
				"Device", "Provenance")),
		"code":       []any{node{"coding": one(loinc, pick(w.rnd, measured...))}},
		"dataPeriod": node{"start": fmt.Sprintf("20%d-01-01", 15+w.rnd.IntN(11))},
		"period":     pick(w.rnd, node{"start": "2020-01-01"}, node{"start": "2020-01-01", "end": "2021-01-01"}),
		"actor": []any{node{
			"role": node{
				"coding": one("http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
					pick(w.rnd, "PRCP", "IRCP", "CST")),
			},
			"reference": node{"reference": pick(w.rnd, "Organization/org1", "Organization/org2", "Practitioner/pra1",
				"Practitioner/pra2", "Device/dev1")},
		}},
		"securityLabel": pick(w.rnd, one(reasonSystem, "HTEST"), one(levelSystem, "R"), one(actSystem, "HIV"),
			one(levelSystem, "N")),
		"action": []any{node{"coding": one("http://terminology.hl7.org/CodeSystem/consentaction",
			pick(w.rnd, "access", "correct", "collect", "collect"))}},
	}) {
		if w.chance(5) {
			p[name] = value
		}
	}

	if depth > 0 && w.chance(2) {
		p["provision"] = []any{w.provision(depth - 1), w.provision(depth - 1)}
	}
	return p
}

// sorted goes through a map in the order of its keys, so that a seed always makes the
// same.
func sorted(m map[string]any) func(func(string, any) bool) {
	return func(yield func(string, any) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, m[name]) {
				return
			}
		}
	}
}

var marked = regexp.MustCompile(`\bm[ks][0-9]{5}z\b`)

// refresh reads what the store has got since, and returns the model of what it was
// before.
func (w *world) refresh() *model {
	before := *w.model
	w.state = before.state.read(w.t, w.Store, &w.at)
	for ref, r := range w.state {
		if r == before.state[ref] {
			continue
		}

		for _, v := range r.versions {
			if before.state[ref] == nil || v.n > before.state[ref].now().n {
				w.index(ref, v)
			}
		}
	}

	return &before
}

// index notes the marks of a version.
func (w *world) index(ref string, v version) {
	text := jsonOf(v.body)
	if data, err := base64.StdEncoding.DecodeString(plain(v.body, "data")); err == nil {
		text += string(data)
	}
	for _, mark := range marked.FindAllString(text, -1) {
		w.marks[mark] = append(w.marks[mark], holder{ref, v.n})
	}
}

// plain is text of a body that may be missing.
func plain(body node, name string) string {
	if body == nil {
		return ""
	}
	return text(body, name)
}

// ask sends a request of a token.
func (w *world) ask(k *token, method, path, body string, header ...string) *httptest.ResponseRecorder {
	w.asked = fmt.Sprintf("%s %s %s %v with %s", method, path, body, header, k.text)
	return w.Do(method, path, k.text, body, append(header, k.header()...)...)
}

// fail reports what a request has shown or done.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf("%s\n\t%s", fmt.Sprintf(format, args...), w.asked)
}
