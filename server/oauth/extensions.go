package oauth

import (
	"maps"
	"slices"
	"strings"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// tefcaIAS is TEFCA's extension object for individual access. Package udap
// judges it beside hl7-b2b; it holds an identity token and a person's
// particulars, so it is neither kept nor shown.
const tefcaIAS = "tefca_ias"

// extensionsOf lists the authorization extension objects that mean something
// in a community.
func extensionsOf(p udap.Policy) []string {
	if p.PurposeFromSAN {
		return []string{udap.B2BKey, tefcaIAS}
	}
	return []string{udap.B2BKey}
}

// noteExtensions says what became of the other extension objects: they are
// ignored, always (UDAP client authorization grants 6.4 allows that or
// refusing), and one that has been renamed is recognised.
func noteExtensions(a *authenticated, tr *trace.Trace) {
	udap.CheckExtensionNames(a.ant, tr)
	known := extensionsOf(a.ant.Community.Policy)
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(a.ant.Extensions)), func(key string) bool {
		return slices.Contains(known, key)
	})
	if len(others) > 0 {
		tr.Warn(checkExtension, trace.Finding{
			Expected: "extension objects that the metadata lists",
			Found:    strings.Join(others, ", "),
			Remedy:   "ignored",
		})
	}
}
