package udap

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/trace"
)

// TEFCACommunity identifies TEFCA's trust community.
const TEFCACommunity trace.CommunityURI = "urn:oid:2.16.840.1.113883.3.7204.1.5"

// Codes and extension names change with each edition, so they are data, one
// file per edition named by its date.
//
//go:embed tefca/*.json
var tefcaFiles embed.FS

// PurposeEdition is one dated edition of a list of exchange purposes.
type PurposeEdition struct {
	Edition  string `json:"edition"`
	Date     string `json:"date"` // YYYY-MM-DD
	Source   string `json:"source"`
	System   string `json:"system"` // URI of the code system
	Purposes []struct {
		Code  string `json:"code"`
		Title string `json:"title"`
	} `json:"purposes"`
	Extensions struct {
		Moved   map[string]string `json:"moved"` // old name of an extension object to its new name
		Removed []string          `json:"removed"`
	} `json:"extensions"`
}

// URIs returns the purposes as purpose_of_use writes them, for
// Policy.PurposesOfUse.
func (e PurposeEdition) URIs() []string {
	var out []string
	for _, p := range e.Purposes {
		out = append(out, e.System+"#"+p.Code)
	}
	return out
}

// TEFCAEditions returns the editions of TEFCA's exchange purposes, newest first.
var TEFCAEditions = sync.OnceValue(func() []PurposeEdition {
	names, _ := fs.Glob(tefcaFiles, "tefca/*.json")
	slices.Sort(names)
	slices.Reverse(names)
	var out []PurposeEdition

	for _, name := range names {
		data, err := tefcaFiles.ReadFile(name)
		var e PurposeEdition
		if err == nil {
			err = json.Unmarshal(data, &e, json.RejectUnknownMembers(true))
		}
		if err != nil {
			panic("udap: " + name + ": " + err.Error()) // embedded: a test reads every file
		}

		out = append(out, e)
	}

	return out
})

// movedPurpose describes a purpose of use that is not allowed, if it is known.
func movedPurpose(code string) string {
	system, bare, isURI := strings.Cut(code, "#")
	for i, e := range TEFCAEditions() {
		for _, p := range e.Purposes {
			switch {
			case p.Code == bare && isURI && e.System == system && i > 0:
				return fmt.Sprintf("%s was in TEFCA's edition %s of %s and is not in %s", bare, e.Edition,
					e.Date,
					TEFCAEditions()[0].Edition)
			case p.Code == bare && isURI && e.System != system, p.Code == code && !isURI:
				return "TEFCA writes it as " + e.System + "#" + p.Code
			}
		}
	}

	return ""
}

var checkExtensions = trace.NewCheck("b2b.extensions",
	"Extension objects have the names of the current edition",
	"S1-198")

// CheckExtensionNames warns about extension objects under names that an edition
// of TEFCA has changed or removed. Unknown names are ignored.
func CheckExtensionNames(ant *AuthenticationToken, tr *trace.Trace) {
	now := TEFCAEditions()[0]
	for name := range ant.Extensions {
		if to, ok := now.Extensions.Moved[name]; ok {
			tr.Warn(checkExtensions, trace.Finding{
				Expected: to,
				Found:    name,
				Remedy: fmt.Sprintf("the name became %s in TEFCA's edition of %s; the old one is ignored", to,
					now.Date),
			})
		}

		if slices.Contains(now.Extensions.Removed, name) {
			tr.Warn(checkExtensions, trace.Finding{
				Expected: "no " + name,
				Found:    name,
				Remedy:   fmt.Sprintf("it was removed before TEFCA's edition of %s and is ignored", now.Date),
			})
		}
	}
}

var (
	checkSANPurpose = trace.NewCheck("b2b.san_purpose",
		"The one purpose of use is that of the fragment of the client's URI", "S1-216")
	checkTreatment = trace.NewCheck("b2b.treatment",
		"A query for treatment names the organization by NPI or TIN and by directory URL", "S1-210 S1-214")
)

// sanPurpose applies TEFCA's rule on exchange purposes to the codes of an extension
// object, where the community's policy asks for it (Policy.PurposeFromSAN).
func (x *extension) sanPurpose(ant *AuthenticationToken, codes []string) error {
	if !x.p.PurposeFromSAN {
		return nil
	}

	want := exchangePurpose(ant)
	got := codes[0][strings.LastIndex(codes[0], "#")+1:]
	if len(codes) != 1 || want == "" || got != want {
		return x.refuse(checkSANPurpose, "one purpose of use, that of "+string(ant.Client),
			strings.Join(codes, " "),
			"each exchange purpose has its own certificate URI and registration")
	}

	x.tr.Pass(checkSANPurpose, want, got)
	return nil
}

// exchangePurpose returns the code of a client's exchange purpose: the fragment of
// its URI. It is empty for a client without one.
func exchangePurpose(ant *AuthenticationToken) string {
	_, code, _ := strings.Cut(string(ant.Client), "#")
	return code
}

// treatment warns: the rule is the community's, and no format is prescribed.
func (b *b2b) treatment(ant *AuthenticationToken) {
	purpose := exchangePurpose(ant)
	if !b.p.PurposeFromSAN || purpose != "T-TREAT" && purpose != "T-TRTMNT" {
		return
	}

	digits := 0
	for _, r := range b.out.OrganizationName {
		if r >= '0' && r <= '9' {
			digits++
		}
	}

	if digits < 9 {
		b.tr.Warn(checkTreatment, trace.Finding{
			Expected: "organization_name with an NPI or TIN",
			Found:    b.out.OrganizationName,
		})
	}

	if !strings.HasPrefix(strings.ToLower(b.out.OrganizationID), "https://") {
		b.tr.Warn(checkTreatment, trace.Finding{
			Expected: "organization_id as the organization's URL in the directory",
			Found:    b.out.OrganizationID,
		})
	}
}
