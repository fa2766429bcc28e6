package table

import (
	"bufio"
	"compress/gzip"
	"os"
	"slices"
	"strings"
	"testing"
)

//go:generate go run ./internal/second testdata/second.txt.gz

// TestSecondSourceAgrees compares every element of R4 with another publisher's
// copy of HL7's definitions: cardinality, type, targets and required binding.
// A fault of either copy, or of what made the table, is a difference.
func TestSecondSourceAgrees(t *testing.T) {
	f, err := os.Open("testdata/second.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	text, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}

	elements, differing := 0, map[string]bool{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		if lines.Text()[0] == '#' {
			continue
		}

		elements++
		fields := strings.Split(lines.Text(), "\t")
		name := fields[0] + "." + fields[1]
		if diff := compareElement(fields); diff != "" {
			differing[name] = true
			if why := explained[name]; why == "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}

	if err := lines.Err(); err != nil || elements < 8000 {
		t.Errorf("%d elements, %v", elements, err)
	}

	for name := range explained {
		if !differing[name] {
			t.Errorf("%s does not differ any more", name)
		}
	}
}

// explained are the differences in which the table is right.
var explained = map[string]string{
	"Extension.url":             "a uri in R4",
	"SimpleQuantity.comparator": "forbidden by the profile (max 0)",
}

// compareElement compares a line of the second source (see internal/second)
// with the table. That source lists targets of some references only.
func compareElement(fields []string) string {
	typ := R4().Type(fields[0])
	if typ == nil {
		return "no such type"
	}

	m, ok := typ.Member(fields[1])
	if !ok {
		return "no such element"
	}

	e := m.Element
	bound := ""
	if e.Codes != nil {
		bound = e.Codes.Name
	}
	targets := slices.Clone(m.Type.Targets)
	slices.Sort(targets)

	switch {
	case !e.Choice() && (e.Min > 0) != (fields[2] == "1"):
		return "another least number"
	case e.Many() != (fields[3] == "many"):
		return "another greatest number"
	case m.Type.Name[0] != '@' && kindOf(m.Type.Name) != kindOf(fields[4]):
		return "of type " + m.Type.Name + ", not " + fields[4]
	case fields[5] != "" && fields[5] != "Resource" && strings.Join(targets, "|") != fields[5]:
		return "refers to " + strings.Join(targets, "|") + ", not " + fields[5]

	case bound != fields[6] && !unlisted[fields[6]]:
		return "bound to " + bound + ", not " + fields[6]
	}

	return ""
}

// kindOf leaves out what the two sources name differently.
func kindOf(typ string) string {
	switch typ {
	case "id": // Element.id and Resource.id
		return "string"
	case "SimpleQuantity", "MoneyQuantity": // profiles of it
		return "Quantity"
	}
	return typ
}

// unlisted are the value sets whose codes no definition lists.
var unlisted = map[string]bool{"mimetypes": true, "currencies": true, "ucum-units": true, "LL379-9": true}

// ResearchStudy.status has R4's eleven codes, and none of R5's.
func TestResearchStudyStatus(t *testing.T) {
	m, _ := R4().Resource("ResearchStudy").Member("status")
	for _, code := range []string{
		"active", "administratively-completed", "approved", "closed-to-accrual", "closed-to-accrual-and-intervention",
		"completed", "disapproved", "in-review", "temporarily-closed-to-accrual",
		"temporarily-closed-to-accrual-and-intervention", "withdrawn",
	} {
		t.Run(code, func(t *testing.T) {
			if !m.Element.Codes.Has(code) {
				t.Error("refused")
			}
		})
	}

	for _, code := range []string{"draft", "retired", "unknown"} {
		t.Run(code, func(t *testing.T) {
			if m.Element.Codes.Has(code) {
				t.Error("accepted")
			}
		})
	}
}
