package label

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"fhirdest.example/fhir/access"
)

// Security is how confidential several resources are together: as much as the most
// confidential one (R4 security-labels.html, "high water mark"). One without a level
// counts as Normal. The zero value is that of no resource.
type Security struct {
	top      Level
	labelled bool // one has a level
}

// Take adds a resource with a level, 0 for none.
func (s *Security) Take(l Level) {
	s.labelled = s.labelled || l > 0
	if l == 0 {
		l = Normal
	}
	s.top = max(s.top, l)
}

// Join adds what another has.
func (s *Security) Join(other Security) {
	s.labelled = s.labelled || other.labelled
	s.top = max(s.top, other.top)
}

// Level returns the level of all together, 0 when none of them has a label.
func (s Security) Level() Level {
	if !s.labelled {
		return 0
	}
	return s.top
}

// bundleStart is how the service begins every Bundle.
var bundleStart = []byte(`{"resourceType":"Bundle"`)

// Mark writes the level into a Bundle, as meta.security. Without labels nothing is
// written.
func (s Security) Mark(bundle []byte) []byte {
	l := s.Level()
	if l == 0 || !bytes.HasPrefix(bundle, bundleStart) {
		return bundle
	}

	b := make([]byte, 0, len(bundle)+128)
	b = append(append(b, bundleStart...), `,"meta":{`...)
	b = append(AppendSecurity(b, l), '}')
	return append(b, bundle[len(bundleStart):]...)
}

// Tag is the ETag of a version that is shown without some elements: another than that
// of the whole, and the same for the same elements.
func Tag(version uint64, masks access.Masks) string {
	h := fnv.New32a()
	for _, typ := range slices.Sorted(maps.Keys(masks)) {
		elements := slices.Clone(masks[typ])
		slices.Sort(elements)
		fmt.Fprintf(h, "%s %q ", typ, slices.Compact(elements))
	}
	return fmt.Sprintf(`W/"%d-redacted-%08x"`, version, h.Sum32())
}
