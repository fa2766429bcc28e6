package validate

import (
	"testing"

	"fhirdest.example/fhir/table"
)

// An attachment whose size or hash does not fit its data draws a warning, and
// is an error only for a strict validator (R4 datatypes 2.24.0.7).
func TestAttachments(t *testing.T) {
	for _, row := range []struct {
		name, attachment, text string
	}{
		{"both fit", `"data":"AAAA","size":3,"hash":"KeLc+7FvY7sCVN91haFbtvtekn0="`, ""},
		{"size alone", `"size":4`, ""},
		{"hash without data", `"hash":"AAAA","url":"http://example.org/x"`, ""},
		{"another size", `"data":"AAAA","size":4`, "size is not the number of bytes in data, which is 3"},
		{"another hash", `"data":"AAAA","hash":"AAAA"`, "hash is not the SHA-1 of data"},
	} {
		body := `{"resourceType":"Patient","photo":[{"contentType":"image/png",` + row.attachment + `}]}`
		for _, strict := range []bool{false, true} {
			severity, name := Warning, "as usual"
			if strict {
				severity, name = Error, "strict"
			}

			t.Run(row.name+", "+name, func(t *testing.T) {
				v := New(table.R4())
				v.StrictAttachments = strict
				issues := issuesOf(t, v, body)
				if row.text == "" {
					if len(issues) > 0 {
						t.Error(issues)
					}
					return
				}

				if len(issues) != 1 || issues[0].Severity != severity || issues[0].Text != row.text ||
					issues[0].Expression != "Patient.photo[0]" {
					t.Error(issues)
				}
				if OK(issues) == strict {
					t.Error("strictness is not what was asked")
				}
			})
		}
	}
}

// A warning inside an element does not keep the element's own invariants from
// being checked.
func TestWarningsDoNotHideErrors(t *testing.T) {
	const body = `{"resourceType":"Consent","status":"active","scope":{"text":"x"},"category":[{"text":"x"}],` +
		`"sourceAttachment":{"contentType":"image/png","data":"AAAA","size":4}}`
	issues := issuesOf(t, New(table.R4()), body)
	if len(issues) != 2 || issues[0].Severity != Warning || issues[1].Rule != "ppc-1" || OK(issues) {
		t.Error(issues)
	}
}
