package oauth

import (
	"context"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// acceptCertifications returns the certifications that count, as submitted. Bad
// or unsupported ones are left out and never echoed, unless the community
// requires one (UDAP Security 2.0, 3.3 and 7.4).
func (s *Service) acceptCertifications(
	ctx context.Context, sent []string, st *udap.SoftwareStatement, tr *trace.Trace,
) ([]string, error) {
	good, err := s.verifier().Certifications(ctx, sent, st, s.expect(s.urls.Register, tr.Time), tr)
	if err := tr.Note(err); err != nil {
		return nil, err
	}

	var accepted []string
	for _, c := range good {
		accepted = append(accepted, c.Raw)
	}

	return accepted, nil
}
