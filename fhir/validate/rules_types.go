package validate

import (
	"crypto/sha1" // FHIR R4 asks for SHA-1 in Attachment.hash; no trust rests on it
	"encoding/base64"
	"strconv"
	"strings"

	"fhirdest.example/fhir/tree"
)

const ucum = "http://unitsofmeasure.org"

// dataTypeRules are the invariants of data types (FHIR R4, datatypes.html,
// metadatatypes.html).
func dataTypeRules() map[string][]rule {
	return map[string][]rule{
		"Extension":    {one("ext-1", "extension", "value[x]")},
		"Quantity":     {needs("qty-3", "code", "system")},
		"ContactPoint": {needs("cpt-2", "value", "system")},
		"Period": {{"per-1", "the period must not end before it starts", func(v *tree.Value) bool {
			return notAfter(v.Get("start"), v.Get("end"))
		}}},
		"Range": {{"rng-2", "low must not be greater than high", rangeOrdered}},
		"Ratio": {{"rat-1", "numerator and denominator come together, or an extension does", func(v *tree.Value) bool {
			return has(v, "numerator") == has(v, "denominator") && (has(v, "numerator") ||
				has(v, "extension"))
		}}},
		"Age": {measured("age-1", func(v *tree.Value) bool {
			n, ok := number(v.Get("value"))
			return !ok || n > 0
		})},
		"Count": {measured("cnt-3", func(v *tree.Value) bool {
			return (!has(v, "code") || v.Get("code").Text() == "1") &&
				!strings.Contains(v.Get("value").Literal(), ".")
		})},
		"Distance": {measured("dis-1", func(*tree.Value) bool {
			return true
		})},
		"Duration": {{"drt-1", "a duration's unit is of UCUM and has a value", func(v *tree.Value) bool {
			return !has(v, "code") || v.Get("system").Text() == ucum && has(v, "value")
		}}},
		"Attachment":                 {needs("att-1", "data", "contentType")},
		"Expression":                 {some("exp-1", "expression", "reference")},
		"DataRequirement.codeFilter": {one("drq-1", "path", "searchParam")},
		"DataRequirement.dateFilter": {one("drq-2", "path", "searchParam")},
		"TriggerDefinition": {apart("trd-1", "data", "timing[x]"), needs("trd-2", "condition", "data"),
			{"trd-3", "the trigger's type asks for its name, timing or data", trigger}},
		"Timing.repeat": timingRules(),
	}
}

// measured makes a rule for a Quantity that counts something: a value has a
// code, the code is UCUM's, and more.
func measured(key string, more func(*tree.Value) bool) rule {
	return rule{key, "the value, its unit and UCUM must fit together", func(v *tree.Value) bool {
		return (has(v, "code") || !has(v, "value")) &&
			among(v.Get("system").Text(), "", ucum) && more(v)
	}}
}

func rangeOrdered(v *tree.Value) bool {
	low, okLow := number(v.At("low", "value"))
	high, okHigh := number(v.At("high", "value"))
	same := v.At("low", "code").Text() == v.At("high", "code").Text() &&
		v.At("low", "unit").Text() == v.At("high", "unit").Text()
	return !okLow || !okHigh || !same || low <= high
}

// attachment compares an attachment's size and hash with its data. R4 asks for
// neither in an invariant, and HL7's own examples have hashes of other kinds:
// a difference is a warning unless the validator is strict.
func (w *walker) attachment(v *tree.Value) {
	if !has(v, "data") || !has(v, "size") && !has(v, "hash") {
		return
	}

	data, err := Base64(v.Get("data").Text())
	if err != nil {
		return
	}

	severity := Warning
	if w.v.StrictAttachments {
		severity = Error
	}
	if has(v, "size") && strconv.Itoa(len(data)) != v.Get("size").Literal() {
		w.add(
			severity,
			"invariant",
			"",
			"size is not the number of bytes in data, which is %d",
			len(data),
		)
	}
	sum := sha1.Sum(data)
	if has(v, "hash") && base64.StdEncoding.EncodeToString(sum[:]) != v.Get("hash").Text() {
		w.add(severity, "invariant", "", "hash is not the SHA-1 of data")
	}
}

func trigger(v *tree.Value) bool {
	switch kind := v.Get("type").Text(); {
	case kind == "named-event":
		return has(v, "name")
	case kind == "periodic":
		return has(v, "timing[x]")
	case strings.HasPrefix(kind, "data-"):
		return has(v, "data")
	}

	return true
}

func timingRules() []rule {
	notNegative := func(name string) func(*tree.Value) bool {
		return func(v *tree.Value) bool {
			n, ok := number(v.Get(name))
			return !ok || n >= 0
		}
	}
	return []rule{
		needs("tim-1", "duration", "durationUnit"), needs("tim-2", "period", "periodUnit"),
		{"tim-4", "duration must not be negative", notNegative("duration")},
		{"tim-5", "period must not be negative", notNegative("period")},
		needs("tim-6", "periodMax", "period"), needs("tim-7", "durationMax",
			"duration"), needs("tim-8", "countMax", "count"),
		{"tim-9", "an offset needs an event to be counted from, other than a meal itself", func(v *tree.Value) bool {
			for _, when := range v.Get("when").Each() {
				if among(when.Text(), "C", "CM", "CD", "CV") {
					return !has(v, "offset")
				}
			}

			return !has(v, "offset") || has(v, "when")
		}},
		apart("tim-10", "timeOfDay", "when"),
	}
}
