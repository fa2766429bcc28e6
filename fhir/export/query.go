package export

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
)

// What includeAssociatedData may ask for.
const (
	latestProvenance   = "LatestProvenanceResources"
	relevantProvenance = "RelevantProvenanceResources"
)

// query is what an export is asked for.
type query struct {
	level        string          // "" for the system, "Patient" or "Group"
	group        string          // id
	types        map[string]bool // that are exported
	named        bool            // _type named them
	since, until time.Time
	filters      map[string]search.Filter // of _typeFilter, by type
	elements     map[string][]string      // by type; "" for all types
	patients     []string                 // ids; nil for all
	provenance   string                   // latestProvenance, relevantProvenance or ""
	ignored      []string                 // what was left out, with reasons
}

// reading is a query that is being read.
type reading struct {
	query
	asked  *fhir.Asked
	access *access.Reader
	bases  search.Bases
	texts  []string // values of _typeFilter
}

// readQuery reads the request of an export. Its error is the answer.
func readQuery(a *fhir.Asked, r *access.Reader, bases search.Bases) (*query, error) {
	in := &reading{
		asked:  a,
		access: r,
		bases:  bases,
	}
	if err := in.level(); err != nil {
		return nil, err
	}

	for _, p := range a.Query {
		if err := in.parameter(p.Name, p.Value); err != nil {
			return nil, err
		}
	}

	if err := in.typeFilters(); err != nil {
		return nil, err
	}
	return &in.query, in.grantedTypes()
}

func bad(format string, args ...any) error {
	return fhir.Refuse(http.StatusBadRequest, "value", fmt.Sprintf(format, args...), "")
}

// level reads what the path asks for.
func (in *reading) level() error {
	switch path := in.asked.Path; {
	case len(path) == 1:
		return nil
	case len(path) == 2 && path[0] == "Patient":
		in.query.level = "Patient"
		return nil
	case len(path) == 3 && path[0] == "Group":
		in.query.level, in.group = "Group", path[1]
		return nil
	}

	return fhir.Refuse(http.StatusNotFound, "not-supported",
		"There is $export of the system, of Patient, and of one Group.", "")
}

// outputFormats are the spellings of the one format (Bulk Data 2.0, "Query
// Parameters").
var outputFormats = []string{"application/fhir+ndjson", "application/ndjson", "ndjson"}

func (in *reading) parameter(name, value string) error {
	instant := strings.ReplaceAll(value, " ", "+") // a plus that was sent unescaped
	switch name {
	case "_outputFormat":
		if !slices.Contains(outputFormats, instant) {
			return bad("_outputFormat is one of %s.", strings.Join(outputFormats, ", "))
		}
	case "_since":
		from, _, ok := search.Instants(instant)
		if in.since = from; !ok {
			return bad("_since is no instant.")
		}

	case "_until":
		_, to, ok := search.Instants(instant)
		if in.until = to; !ok {
			return bad("_until is no instant.")
		}

	case "_type":
		return in.typeNames(value)
	case "_typeFilter":
		in.texts = append(in.texts, value)
	case "_elements":
		return in.elementNames(value)
	case "includeAssociatedData":
		return in.associated(value)

	case "patient":
		return in.patient(value)
	case "_format", "_pretty":

	case "organizeOutputBy":
		return fhir.Refuse(http.StatusBadRequest, "not-supported",
			"Files are organized by resource type only.", "")
	default:
		return in.leaveOut("the parameter " + clip(name) + " is not supported")
	}

	return nil
}

func clip(s string) string { return fmt.Sprintf("%.60q", s) }

// leaveOut refuses what is not supported, or goes on without it, as Prefer:
// handling asks.
func (in *reading) leaveOut(what string) error {
	if in.asked.Strict() {
		return fhir.Refuse(http.StatusBadRequest, "not-supported", "Refused: "+what+".", "")
	}
	in.ignored = append(in.ignored, "Left out: "+what+".")
	return nil
}

func (in *reading) typeNames(value string) error {
	if in.types == nil {
		in.types, in.named = map[string]bool{}, true
	}

	for _, typ := range strings.Split(value, ",") {
		if !search.IsType(typ) {
			return bad("_type names something that is no resource type.")
		}
		if typ == "AuditEvent" {
			return fhir.Refuse(http.StatusBadRequest, "not-supported",
				"Audit records are searched, and not exported.", "")
		}
		if err := in.may(typ); err != nil {
			return err
		}

		in.types[typ] = true
	}

	return nil
}

// may refuses a type that the grant does not both read and search.
func (in *reading) may(typ string) error {
	for _, p := range []scope.Permission{scope.Read, scope.Search} {
		if err := in.access.May(p, typ); err != nil {
			return fhir.RefusedAccess(err)
		}
	}
	return nil
}

// grantedTypes fills in the types that are exported when none is named.
func (in *reading) grantedTypes() error {
	if in.named {
		return nil
	}

	in.types = map[string]bool{}
	for _, typ := range in.access.Types(scope.Read) {
		if typ != "AuditEvent" && in.access.Can(scope.Search, typ) {
			in.types[typ] = true
		}
	}

	if len(in.types) == 0 {
		return in.may("Patient")
	}
	return nil
}

func (in *reading) elementNames(value string) error {
	if in.elements == nil {
		in.elements = map[string][]string{}
	}

	for _, one := range strings.Split(value, ",") {
		typ, name, typed := strings.Cut(one, ".")
		if !typed {
			typ, name = "", one
		}
		if typed && !search.IsType(typ) || name == "" {
			return bad("_elements is a list of names of elements, such as Patient.name or status.")
		}
		if t := table.R4().Resource(typ); typed && !hasElement(t, name) {
			return bad("_elements: %s has no element %s.", typ, clip(name))
		}

		in.elements[typ] = append(in.elements[typ], name)
	}

	return nil
}

func hasElement(t *table.Type, name string) bool {
	if t == nil {
		return false
	}
	_, ok := t.Member(name)
	return ok || slices.ContainsFunc(t.Elements, func(e table.Element) bool {
		return e.Name == name || e.Name == name+"[x]"
	})
}

// elementsOf are the elements of a type that are exported; nil for all.
func (q *query) elementsOf(typ string) []string {
	return append(q.elements[""][:len(q.elements[""]):len(q.elements[""])], q.elements[typ]...)
}

func (in *reading) associated(value string) error {
	for _, one := range strings.Split(value, ",") {
		switch one {
		case relevantProvenance:
			in.provenance = one
		case latestProvenance:
			if in.provenance == "" {
				in.provenance = one
			}
		default:
			if err := in.leaveOut("includeAssociatedData " + clip(one) + " is not supported"); err != nil {
				return err
			}
		}
	}

	if in.provenance == "" {
		return nil
	}
	return in.may("Provenance")
}

// maxPatients bounds the patients that one request names.
const maxPatients = 10_000

func (in *reading) patient(value string) error {
	switch {
	case in.asked.Method != http.MethodPost:
		return bad("patient is a parameter of POST only.")
	case in.query.level == "":
		return bad("patient is a parameter of the exports of Patient and Group.")
	case len(in.patients) >= maxPatients:
		return bad("At most %d patients are exported by name.", maxPatients)
	}

	ref := in.bases.ParseRef(value)
	if ref.Type != "Patient" || ref.Version != "" {
		return bad("patient is a reference to a Patient, such as Patient/123.")
	}

	in.patients = append(in.patients, ref.ID)
	return nil
}

// typeFilters reads the queries of _typeFilter. Those of one type are alternatives.
func (in *reading) typeFilters() error {
	parser := search.Parser{
		Bases:  in.bases,
		Masked: in.access.Masker(),
		Now:    func() time.Time { return in.asked.At },
	}

	for _, text := range in.texts {
		for _, one := range splitFilters(text) {
			typ, criteria, ok := strings.Cut(one, "?")
			if !ok || !search.IsType(typ) {
				return bad("_typeFilter is a list of searches, such as Observation?category=laboratory.")
			}
			if in.named && !in.types[typ] {
				return bad("_typeFilter is about %s, which _type does not name.", typ)
			}
			if err := in.typeFilter(&parser, typ, criteria); err != nil {
				return err
			}
		}
	}

	return nil
}

// splitFilters takes a list of searches apart at the commas that begin another one.
func splitFilters(text string) []string {
	var all []string
	for _, part := range strings.Split(text, ",") {
		typ, _, ok := strings.Cut(part, "?")
		if ok && search.IsType(typ) || len(all) == 0 {
			all = append(all, part)
		} else {
			all[len(all)-1] += "," + part
		}
	}
	return all
}

func (in *reading) typeFilter(parser *search.Parser, typ, criteria string) error {
	pairs, err := fhir.ParseQuery(criteria)
	if err != nil {
		return err
	}

	var clauses []search.Clause
	for _, p := range pairs {
		c, err := parser.Plain(typ, p.Name, p.Value)
		if refused := (*search.Error)(nil); errors.As(err, &refused) {
			return err
		}
		if err != nil {
			if err := in.leaveOut("_typeFilter " + typ + "?" + clip(p.Name) + ": " + err.Error()); err != nil {
				return err
			}
			continue
		}

		clauses = append(clauses, c)
	}

	if in.filters == nil {
		in.filters = map[string]search.Filter{}
	}
	in.filters[typ] = in.filters[typ].Or(clauses)
	return nil
}
