package view

import (
	"strings"

	"fhirdest.example/fhir/tree"
)

// short writes a value of a common data type on one line; "" when the type
// has no short form, or the value holds more than the form can.
func short(kind string, v *tree.Value) string {
	get := func(name string) string {
		return v.Get(name).Literal()
	}
	switch kind {
	case "HumanName":
		if get("text") != "" {
			return noted(get("text"), get("use"))
		}
		return noted(joined(" ", list(v, "prefix"), list(v, "given"), get("family"), list(v, "suffix")),
			get("use"))

	case "CodeableConcept":
		return concept(v)
	case "Coding":
		return coding(v)
	case "Quantity", "SimpleQuantity", "Age", "Duration", "Count", "Distance", "MoneyQuantity":
		unit := get("unit")
		if unit == "" {
			unit = get("code")
		}
		return joined(" ", get("comparator")+get("value"), unit)

	case "Period":
		if get("start") == "" && get("end") == "" {
			return ""
		}
		return joined(" ", get("start"), "–", get("end"))

	case "Range":
		return joined(
			" ",
			short("Quantity", v.Get("low")),
			"–",
			short("Quantity", v.Get("high")),
		)
	case "Ratio":
		return joined(
			" ",
			short("Quantity", v.Get("numerator")),
			"in",
			short("Quantity", v.Get("denominator")),
		)
	case "Identifier":
		return noted(
			get("value"),
			joined(", ", short("CodeableConcept", v.Get("type")), get("system")),
		)
	case "ContactPoint":
		return noted(get("value"), joined(", ", get("system"), get("use")))

	case "Address":
		return noted(joined(", ", list(v, "line"), get("city"), joined(" ", get("state"), get("postalCode")),
			get("country")), get("use"))
	case "Annotation":
		return get("text")
	}

	return ""
}

// concept gives a CodeableConcept's text and its codes.
func concept(v *tree.Value) string {
	var codes []string
	text := v.Get("text").Text()
	for _, c := range v.Get("coding").Each() {
		if text == "" {
			text = c.Get("display").Text()
		}
		codes = append(codes, systemName(c.Get("system").Text())+" "+c.Get("code").Text())
	}

	if text == "" {
		return strings.Join(codes, ", ")
	}
	return noted(text, strings.Join(codes, ", "))
}

func coding(v *tree.Value) string {
	code := joined(" ", systemName(v.Get("system").Text()), v.Get("code").Text())
	if display := v.Get("display").Text(); display != "" {
		return noted(display, code)
	}
	return code
}

// systemName is a code system's common name, or the end of its URL.
func systemName(system string) string {
	switch system {
	case "http://loinc.org":
		return "LOINC"
	case "http://snomed.info/sct":
		return "SNOMED CT"
	case "http://www.nlm.nih.gov/research/umls/rxnorm":
		return "RxNorm"
	case "http://unitsofmeasure.org":
		return "UCUM"
	}

	return system[strings.LastIndexByte(system, '/')+1:]
}

// list joins the texts of a repeating element.
func list(v *tree.Value, name string) string {
	var all []string
	for _, item := range v.Get(name).Each() {
		all = append(all, item.Text())
	}
	return joined(" ", all...)
}

// joined joins what is not empty.
func joined(between string, parts ...string) string {
	var all []string
	for _, p := range parts {
		if p != "" {
			all = append(all, p)
		}
	}
	return strings.Join(all, between)
}

// noted puts a note in brackets behind a text, if there is one.
func noted(text, note string) string {
	if text == "" || note == "" {
		return joined("", text, note)
	}
	return text + " (" + note + ")"
}
