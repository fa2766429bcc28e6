package oauth

import (
	"context"
	"strings"

	"fhirdest.example/udap"
)

// judgeCertifications returns the certifications that count. Bad or unknown
// ones are left out and never echoed, unless the community requires one.
func (s *Service) judgeCertifications(_ context.Context, sent []string, st *udap.SoftwareStatement, tr *udap.Trace) ([]string, error) {
	if needed := st.Community.Policy.CertificationsNeeded; len(needed) > 0 {
		return nil, tr.Refuse(checkCertifications, udap.InvalidClientMetadata, udap.Finding{Expected: "certifications " + strings.Join(needed, ", "), Found: "none that counts"})
	}
	return nil, nil
}
