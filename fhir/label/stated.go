package label

import (
	"net/http"
	"slices"
	"strings"

	"fhirdest.example/fhir/access"
	"fhirdest.example/udap/trace"
)

// PurposeHeader states the purpose of use of one request, as a code (BTG) or as
// system#code. Only that of emergency access means something here.
const PurposeHeader = "Purpose-Of-Use"

// Stated reports whether a request states emergency access: by a Category that names
// v3-ActReason#BTG, as R4 describes it (security-labels.html), or by PurposeHeader.
func Stated(h http.Header) bool {
	for _, line := range h.Values("Category") {
		for _, one := range strings.Split(line, ",") {
			term, _, _ := strings.Cut(one, ";")
			if term = strings.Trim(strings.TrimSpace(term), `"<>`); strings.Contains(term, "#") && emergency(term) {
				return true
			}
		}
	}

	for _, line := range h.Values(PurposeHeader) {
		for _, one := range strings.Split(line, ",") {
			if emergency(strings.TrimSpace(one)) {
				return true
			}
		}
	}

	return false
}

// emergency reports whether a purpose is one of emergency access.
func emergency(purpose string) bool {
	return slices.Contains(emergencies, purpose) || strings.HasSuffix(purpose, "#BTG")
}

// RefuseGlass is why a request that states emergency access may not have it.
func RefuseGlass(g *access.Grant) (trace.Check, trace.Finding) {
	found := "none"
	if len(g.Purposes) > 0 {
		found = strings.Join(g.Purposes, " ")
	}
	return checkGlass, trace.Finding{
		Expected: "BTG or ETREAT among the token's purposes of use",
		Found:    found,
		Remedy:   "ask for a token with purpose_of_use BTG in hl7-b2b, or do not state an emergency",
	}
}

// Emergency is the purpose of use of emergency access, as audit records have it.
const Emergency = "http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG"
