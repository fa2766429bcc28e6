package assess

import (
	"maps"
	"slices"
	"strings"

	"fhirdest.example/udap"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// tefcaNames assesses the names of extension objects (TEFCA's current edition).
func (r purpose) tefcaNames(ext jose.Object) {
	now := udap.TEFCAEditions()[0]
	ok := len(ext) > 0
	for _, name := range now.Extensions.Removed {
		if ext.Has(name) {
			ok = false
			r.warns("TF-45", "the extension object "+name+" was removed", "leave it out")
		}
	}
	for _, old := range slices.Sorted(maps.Keys(now.Extensions.Moved)) {
		name := now.Extensions.Moved[old]
		if ext.Has(old) {
			ok = false
			r.warns("TF-45", "the extension object "+old+" has the name "+name+" now", "send it as "+name)
		}
	}
	if ok {
		r.shows("TF-45")
	}
}

// tefcaContext assesses what TEFCA asks of hl7-b2b beyond the guide.
func (r purpose) tefcaContext(b2b jose.Object) {
	codes, _ := b2b.List("purpose_of_use")
	now := udap.TEFCAEditions()[0]
	known := map[string]bool{}
	for _, u := range now.URIs() {
		known[u] = true
	}

	for _, c := range codes {
		if !known[c] {
			r.notTEFCA(c, now)
		}
	}
	if len(codes) > 0 && r.found("TF-46") == nil {
		r.shows("TF-46")
	}

	r.tefcaURI(codes)
	r.tefcaTreatment(b2b)
}

// notTEFCA records a purpose that is not TEFCA's: a warning, unless the destination
// refused it.
func (r purpose) notTEFCA(code string, now udap.PurposeEdition) {
	f := conform.Finding{
		Row:     "TF-46",
		Verdict: conform.Warned,
		Text: "purpose_of_use has " + quote(code) +
			", which is not an exchange purpose of TEFCA's edition of " + now.Date,
		Remedy: "write it as " + now.System + "#CODE",
	}
	if r.refused("b2b.purpose_of_use") {
		f.Verdict = conform.Violated
	}
	r.add(f)
}

// tefcaURI assesses the fragment of the client's URI against the purpose of use.
func (r purpose) tefcaURI(codes []string) {
	uri := r.lane.Client
	if r.lane.last != nil {
		uri = r.lane.last.uri
	}
	_, want, _ := strings.Cut(string(uri), "#")
	got := ""
	if len(codes) == 1 {
		got = codes[0][strings.LastIndex(codes[0], "#")+1:]
	}

	switch {
	case r.found("TF-46") != nil: // no purpose of TEFCA's, so it names no other one
	case want == "":
		r.warns("TF-48", "the client URI has no fragment that names an exchange purpose",
			"TEFCA's certificates have a URI for each purpose, such as https://…#T-TREAT")
	case got != want:
		r.warns("TF-48", "purpose_of_use is not the one that the client URI names: "+trace.Cut(want, 40),
			"ask for one purpose with the URI and registration of that purpose")
	default:
		r.shows("TF-48")
	}
}

// tefcaTreatment assesses what a query for treatment says about the organization.
func (r purpose) tefcaTreatment(b2b jose.Object) {
	_, purpose, _ := strings.Cut(string(r.lane.Client), "#")
	if purpose != "T-TREAT" && purpose != "T-TRTMNT" {
		return
	}

	const shortest = 9 // digits of a TIN; an NPI has ten
	name, _ := b2b.Text("organization_name")
	digits := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, name)
	id, _ := b2b.Text("organization_id")

	switch {
	case len(digits) < shortest:
		r.warns("TF-47", "organization_name has no NPI or TIN, as a query for treatment must", "add it to the name")
	case !strings.HasPrefix(strings.ToLower(id), "https://"):
		r.warns("TF-47", "organization_id is not the organization's URL in the directory", "send that URL")
	default:
		r.shows("TF-47")
	}
}
