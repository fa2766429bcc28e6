package fhir

import (
	"net/http"

	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// judge holds a resource against R4's definitions; nil when it may be stored.
func (s *Service) judge(root *tree.Value, o validate.Options) *failure {
	found := s.validator.Resource(root, o)
	if validate.OK(found) {
		return nil
	}

	f := &failure{status: http.StatusUnprocessableEntity, issues: asIssues(found)}
	for _, is := range found {
		if is.Severity == validate.Error && basic[is.Code] {
			f.status = http.StatusBadRequest
		}
	}

	return f
}

// basic are complaints that a body is no FHIR at all (400); what is well-formed
// FHIR and still not acceptable is 422 (R4 http 3.1.0.8).
var basic = map[string]bool{
	"structure":    true,
	"required":     true,
	"value":        true,
	"code-invalid": true,
}

func asIssues(found []validate.Issue) []issue {
	all := make([]issue, len(found))
	for i, is := range found {
		all[i] = issue{
			severity: string(is.Severity),
			code:     is.Code,
			detail:   is.Text,
			path:     is.Expression,
		}
	}
	return all
}

// issues lists what is wrong with a resource, warnings included.
func (s *Service) issues(root *tree.Value) []issue {
	return asIssues(s.validator.Resource(root, validate.Options{}))
}
