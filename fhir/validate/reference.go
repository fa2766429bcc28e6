package validate

import (
	"slices"
	"strings"

	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// resourceScope is what must hold over one resource and all it contains.
type resourceScope struct {
	contained map[string]string   // type by id
	used      map[string]bool     // contained ids that something refers to
	ids       map[string]struct{} // ids of elements and of narrative, in what is walked now
}

// collect notes what a resource contains before it is walked, as references
// may come first.
func (s *resourceScope) collect(v *tree.Value) {
	for _, c := range v.Get("contained").Each() {
		if s.contained == nil {
			s.contained = map[string]string{}
		}
		s.contained[c.Get("id").Text()] = c.Get("resourceType").Text()
	}
}

// firstID notes an id and reports whether it is new in the resource.
func (s *resourceScope) firstID(id string) bool {
	if _, found := s.ids[id]; found {
		return false
	}
	if s.ids == nil {
		s.ids = map[string]struct{}{}
	}
	s.ids[id] = struct{}{}
	return true
}

// finish checks contained resources once all references are known: dom-2 to
// dom-5, and that no two have the same id.
func (s *resourceScope) finish(w *walker, v *tree.Value) {
	met := map[string]bool{}
	list := v.Get("contained").Each()
	for i := range list {
		c := &list[i]
		w.path = append(w.path, step{"contained", i})
		id := c.Get("id").Text()
		switch {
		case id == "":
			w.add(Error, "required", "", "what is contained needs an id")
		case met[id]:
			w.add(Error, "invariant", "", "the id %.64q is contained twice", id)
		case !s.used[id] && !refersToContainer(c):
			w.add(Error, "invariant", "dom-3", "nothing refers to what is contained here")
		}

		met[id] = true
		if c.Get("contained") != nil {
			w.add(Error, "invariant", "dom-2", "what is contained contains nothing itself")
		}
		if c.At("meta", "versionId") != nil || c.At("meta", "lastUpdated") != nil {
			w.add(
				Error,
				"invariant",
				"dom-4",
				"what is contained has no version of its own",
			)
		}
		if c.At("meta", "security") != nil {
			w.add(
				Error,
				"invariant",
				"dom-5",
				"what is contained has no security labels of its own",
			)
		}

		w.path = w.path[:len(w.path)-1]
	}
}

// refersToContainer reports whether a contained resource holds a reference "#".
func refersToContainer(v *tree.Value) bool {
	if v.Name == "reference" && v.Text() == "#" {
		return true
	}

	for i := range v.Items {
		if refersToContainer(&v.Items[i]) {
			return true
		}
	}

	return false
}

// reference checks where a Reference leads: its form, what is contained
// (ref-1), and the types that the element allows.
func (w *walker) reference(v *tree.Value, ref *table.TypeRef) {
	target := v.Get("reference").Text()
	stated := v.Get("type").Text()
	if stated != "" && !strings.ContainsAny(stated, ":/") && w.v.table.Resource(stated) == nil {
		w.failAt("type", "value", "%.64q is not a resource type", stated)
		return
	}
	if v.Get("reference") == nil {
		w.allowedTarget(stated, ref)
		return
	}

	found, why := w.targetType(target)
	switch {
	case why != "":
		w.failAt("reference", "value", "%.120q %s", target, why)
	case found != "" && stated != "" && found != stated:
		w.failAt("type", "value", "the reference leads to %s, not %s", found, stated)
	case found != "":
		w.allowedTarget(found, ref)
	default:
		w.allowedTarget(stated, ref)
	}
}

// allowedTarget refuses a type that the element does not list.
func (w *walker) allowedTarget(name string, ref *table.TypeRef) {
	if name != "" && ref.Targets != nil && !slices.Contains(ref.Targets, name) &&
		w.v.table.Resource(name) != nil {
		w.fail("value", "a reference to %s is not allowed here, only to %s", name,
			strings.Join(ref.Targets, ", "))
	}
}

// targetType returns the type that a reference names, "" when it names none,
// and what is wrong with it.
func (w *walker) targetType(target string) (name, why string) {
	if strings.HasPrefix(target, "#") {
		return w.localTarget(target[1:])
	}

	scheme, _, absolute := strings.Cut(target, ":")
	if absolute = absolute && !strings.ContainsAny(scheme, "/?#"); absolute {
		return w.absoluteTarget(target)
	}
	if name, _, found := strings.Cut(target, "?"); found {
		if w.options.Conditional && w.v.table.Resource(name) != nil {
			return name, ""
		}
		return "", "is a search, not a reference"
	}

	name, ok := w.typeOfPath(target)
	if !ok {
		return "", "is not of the form Type/id"
	}
	return name, ""
}

// localTarget resolves a reference to what is contained.
func (w *walker) localTarget(id string) (name, why string) {
	if id == "" {
		return "", ""
	}

	name, found := w.in.contained[id]
	if !found {
		return "", "leads to nothing that is contained here (ref-1)"
	}

	w.in.use(id)
	return name, ""
}

// use notes that something refers to what is contained under an id.
func (s *resourceScope) use(id string) {
	if s.used == nil {
		s.used = map[string]bool{}
	}
	s.used[id] = true
}

// absoluteTarget reads a URL; one that ends with Type/id names its type.
func (w *walker) absoluteTarget(target string) (name, why string) {
	if fault := uriFault("uri", target); fault != "" {
		return "", fault
	}

	path, _, _ := strings.Cut(target, "#")
	if name := w.options.Types[path]; name != "" {
		return name, ""
	}
	if strings.HasPrefix(path, "urn:") {
		return "", ""
	}

	parts := strings.Split(path, "/")
	if n := len(parts); n > 5 && parts[n-2] == "_history" {
		parts = parts[:n-2]
	}
	if n := len(parts); n > 4 && w.v.table.Resource(parts[n-2]) != nil {
		return parts[n-2], ""
	}

	return "", ""
}

// typeOfPath reads Type/id and Type/id/_history/version.
func (w *walker) typeOfPath(path string) (string, bool) {
	path, _, _ = strings.Cut(path, "#")
	name, rest, _ := strings.Cut(path, "/")
	id, version, versioned := strings.Cut(rest, "/_history/")
	if w.v.table.Resource(name) == nil || !splice.ValidID(id) || versioned && !splice.ValidID(version) {
		return "", false
	}
	return name, true
}

// boundConcept checks a Coding or CodeableConcept with a required binding:
// one of its codings must be of the set (FHIR R4, terminologies.html).
func (w *walker) boundConcept(v *tree.Value, e *table.Element) {
	codings := v.Get("coding").Each()
	if v.Get("coding") == nil {
		codings = []tree.Value{*v}
	}

	for i := range codings {
		if e.Codes.HasIn(codings[i].Get("system").Text(), codings[i].Get("code").Text()) {
			return
		}
	}

	w.fail("code-invalid", "no code here is one of %s", e.Codes.Name)
}
