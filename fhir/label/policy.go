package label

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
)

// Policy is what a server does about security labels. The zero value is strict:
// nobody reads what is labelled R or V or has a sensitivity code, but R in an
// emergency.
type Policy struct {
	// Purposes are the purposes of use for which a clearance counts: codes of
	// v3-ActReason, or system#code; "any" for every one and none. Default: TREAT,
	// ETREAT, and TEFCA's T-TREAT.
	Purposes []string `yaml:"purposes,omitempty"`
	// Sensitive are the codes of v3-ActCode that take clearance. Default: all of its
	// codes for sensitive information; "none" for no code.
	Sensitive []string `yaml:"sensitive,omitempty"`
	// Unknown is the level of a label that the code system does not have; default R.
	Unknown string `yaml:"unknown,omitempty"`
	// BreakGlass is the level that is read in an emergency: R (default), V or "none".
	BreakGlass string `yaml:"breakGlass,omitempty"`
	// Clearances are who reads more than N, and who may take labels away.
	Clearances []Clearance `yaml:"clearances,omitempty"`
	// Rules imply labels by type and content. They are labels of the resource like
	// those that it was sent with, and cannot be taken away.
	Rules []Rule `yaml:"rules,omitempty"`
	// Masks show a resource in part.
	Masks []Mask `yaml:"masks,omitempty"`
}

// Clearance is what some clients are cleared for: those that all of Community, Client
// and Organization fit. One that is empty fits every client. Several clearances of
// a client add up.
type Clearance struct {
	Community     string   `yaml:"community,omitempty"`     // URI of a trust community
	Client        string   `yaml:"client,omitempty"`        // URI of a client, as in its certificate
	Organization  string   `yaml:"organization,omitempty"`  // organization_id that it asserts
	Level         string   `yaml:"level,omitempty"`         // default N
	Sensitivities []string `yaml:"sensitivities,omitempty"` // codes, or "*" for all
	Relabel       bool     `yaml:"relabel,omitempty"`       // may lower and remove labels
}

// Rule implies labels of resources of some types ("*" or none for all) that have one of
// some codes anywhere (none for all). A code is system|code; one that ends with "*" is
// all that begin so.
type Rule struct {
	Types  []string `yaml:"types,omitempty"`
	Codes  []string `yaml:"codes,omitempty"`
	Labels []string `yaml:"labels"`
}

// Mask shows resources of some types without some elements, given as paths such as
// "address" or "name.family", to those who are not cleared. With Labels, it is for the
// resources that have one of these, which are shown in part instead of hidden; else for
// all resources of the types, to those who are cleared for less than Level (default R).
type Mask struct {
	Types    []string `yaml:"types"`
	Elements []string `yaml:"elements"`
	Labels   []string `yaml:"labels,omitempty"`
	Level    string   `yaml:"level,omitempty"`
}

// Labeler is a Policy that is ready for use. It is shared by all requests.
type Labeler struct {
	policy    Policy
	sensitive map[string]bool // codes of v3-ActCode that take clearance
	known     map[string]bool // the other codes of v3-ActCode that labels have
	unknown   Level
	glass     Level // 0: an emergency opens nothing
	purposes  []string
	anyone    bool // clearances count for every purpose
	rules     rules
	masks     []mask
}

// mask is a Mask that is ready for use.
type mask struct {
	types    []string
	elements []string
	labels   []string // as marks
	level    Level
}

// New returns the Labeler of a policy. Its error lists all that is wrong with it.
func New(p Policy) (*Labeler, error) {
	var wrong problems
	l := &Labeler{
		policy:    p,
		sensitive: set(sensitivities),
		known:     set(handling),
		unknown:   wrong.level("unknown", p.Unknown, Restricted),
		purposes:  purposesOf(p.Purposes),
		anyone:    slices.Contains(p.Purposes, "any"),
	}

	for _, code := range sensitivities {
		l.known[code] = true
	}
	if len(p.Sensitive) > 0 {
		l.sensitive = set(p.Sensitive)
		delete(l.sensitive, "none")
	}
	if p.BreakGlass != "none" {
		l.glass = wrong.level("breakGlass", p.BreakGlass, Restricted)
	}

	for i, c := range p.Clearances {
		wrong.level(fmt.Sprintf("clearances[%d].level", i), c.Level, Normal)
	}
	l.addRules(&wrong)
	l.addMasks(&wrong)

	if len(wrong) > 0 {
		return nil, wrong
	}
	return l, nil
}

// problems are what is wrong with a policy, as an error.
type problems []string

func (p problems) Error() string {
	return "labels: " + strings.Join(p, "; ")
}

func (p *problems) add(format string, args ...any) {
	*p = append(*p, fmt.Sprintf(format, args...))
}

// level reads a level, "" for the usual one.
func (p *problems) level(at, code string, usual Level) Level {
	if code == "" {
		return usual
	}
	l, ok := levelOf(code)
	if !ok {
		p.add("%s: %q is none of U, L, M, N, R, V", at, code)
	}
	return l
}

// types complains about names that are no types of resources.
func (p *problems) types(at string, names []string) {
	for _, typ := range names {
		if typ != "*" && !search.IsType(typ) {
			p.add("%s: %q is no type of resource", at, typ)
		}
	}
}

func (l *Labeler) addMasks(wrong *problems) {
	for i, m := range l.policy.Masks {
		at := fmt.Sprintf("masks[%d]", i)
		wrong.types(at+".types", m.Types)
		if len(m.Types) == 0 || len(m.Elements) == 0 {
			wrong.add("%s: it needs types and elements", at)
		}

		out := mask{
			types:    m.Types,
			elements: m.Elements,
			level:    wrong.level(at+".level", m.Level, Restricted),
		}

		for _, text := range m.Labels {
			out.labels = append(out.labels, l.markOf(parse(text)))
		}
		for _, typ := range m.Types {
			wrong.elements(at+".elements", typ, m.Elements)
		}

		l.masks = append(l.masks, out)
	}
}

// elements complains about paths that lead nowhere, and about elements that cannot be
// masked: those that identify a resource, hold others, or place it in a record.
func (p *problems) elements(at, typ string, paths []string) {
	for _, path := range paths {
		first, _, _ := strings.Cut(path, ".")
		switch {
		case slices.Contains([]string{"id", "meta", "resourceType", "contained", "text"}, first):
			p.add("%s: %s cannot be masked", at, path)
		case !there(table.R4().Resource(typ), strings.Split(path, ".")):
			p.add("%s: there is no %s.%s", at, typ, path)
		case places(typ, path):
			p.add("%s: %s.%s cannot be masked: it decides in whose record the resource is", at, typ, path)
		}
	}
}

// there reports whether a path leads to an element of a type.
func there(t *table.Type, names []string) bool {
	for _, name := range names {
		if t == nil {
			return false
		}

		i := slices.IndexFunc(t.Elements, func(e table.Element) bool {
			return strings.TrimSuffix(e.Name, "[x]") == name
		})
		if i < 0 {
			return false
		}
		t = t.Elements[i].Types[0].Of
	}

	return true
}

// places reports whether an element decides in whose record a resource is.
func places(typ, path string) bool {
	for _, p := range search.Params(typ) {
		if p.Kind == search.Reference && search.Places("Patient", typ, p.Code) && p.Reads(path) {
			return true
		}
	}
	return false
}

// usualPurposes are the purposes of use for which a clearance counts by default.
var usualPurposes = []string{"TREAT", "ETREAT", exchangePurposes[0] + "#T-TREAT"}

// purposesOf returns purposes as system#code under every name of their system.
func purposesOf(texts []string) []string {
	if len(texts) == 0 {
		texts = usualPurposes
	}

	var all []string
	for _, text := range texts {
		if strings.Contains(text, "#") {
			all = append(all, text)
			continue
		}

		all = append(all, text) // a bare code, where a community accepts it
		for _, system := range reasons {
			all = append(all, system+"#"+text)
		}
	}

	return all
}

// Version identifies what the index depends on: another one means that the index must
// be made anew. It is 0 for the usual policy.
func (l *Labeler) Version() uint64 {
	p := l.policy
	if len(p.Rules)+len(p.Sensitive) == 0 && p.Unknown == "" {
		return 0
	}

	h := fnv.New64a()
	fmt.Fprintf(h, "%q %q %q", p.Rules, p.Sensitive, p.Unknown)
	return h.Sum64()
}

// clearance returns what a grant is cleared for by the policy, whatever its purposes.
func (l *Labeler) clearance(g *access.Grant) (level Level, cleared map[string]bool, relabel bool) {
	level, cleared = Normal, map[string]bool{}
	if ownRecord(g) {
		level, cleared["*"] = Restricted, true
	}

	for _, c := range l.policy.Clearances {
		if !c.fits(g) {
			continue
		}

		if to, ok := levelOf(c.Level); ok {
			level = max(level, to)
		}
		for _, code := range c.Sensitivities {
			cleared[code] = true
		}
		relabel = relabel || c.Relabel
	}

	return level, cleared, relabel
}

func (c *Clearance) fits(g *access.Grant) bool {
	organization := ""
	if g.Asserted != nil {
		organization = g.Asserted.Organization
	}
	return (c.Community == "" || c.Community == g.Community) &&
		(c.Client == "" || c.Client == g.Party) &&
		(c.Organization == "" || c.Organization == organization)
}

func set(all []string) map[string]bool {
	out := make(map[string]bool, len(all))
	for _, one := range all {
		out[one] = true
	}
	return out
}
