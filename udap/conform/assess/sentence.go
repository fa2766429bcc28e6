package assess

import (
	"fmt"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// sentence returns the colour of an exchange, and why.
func (r *request) sentence(findings []conform.Finding) (Colour, string) {
	var warning *conform.Finding
	for i, f := range findings {
		switch f.Verdict {
		case conform.Violated:
			return Red, f.Text
		case conform.Warned:
			if warning == nil {
				warning = &findings[i]
			}
		}
	}

	switch {
	case warning != nil:
		return Amber, warning.Text
	case r.Fault != "":
		return Green, "answered with the fault " + r.Fault
	case r.failed():
		return Amber, r.trouble()
	case r.Status >= 400:
		return Amber, fmt.Sprintf("answered %d", r.Status)
	}
	return Green, r.done()
}

func (r *request) trouble() string {
	switch {
	case r.Status == 0:
		return "there was no answer"
	case r.Cut:
		return "the answer was cut off"
	case r.Status == 429:
		return "asked to wait: too many requests"
	}
	return fmt.Sprintf("the destination answered %d", r.Status)
}

// done describes what a request without mistakes led to.
func (r *request) done() string {
	switch r.place {
	case metadata:
		return "read the metadata"
	case documents:
		return "read a public document"
	case register:
		if r.doc.cancels() {
			return "the registration is cancelled"
		}
		return "registered"
	case authorize, pages:
		return "a person is asked"
	case token:
		return "got a token by " + trace.Cut(r.grant, 40)
	case revoke:
		return "the token is revoked"
	case introspect:
		return "looked at its token"
	case records:
		return "read with its token"
	}
	return fmt.Sprintf("answered %d", r.Status)
}
