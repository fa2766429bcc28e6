package process

import (
	"net"
	"net/http"
	"time"

	"fhirdest.example/certs"
)

// ServeLists serves the lists of a community's two authorities, on which nothing is
// revoked, at /root.crl and /members.crl, until the server is closed.
func ServeLists(l net.Listener, members *certs.Community) (*http.Server, error) {
	lists := map[string][]byte{}
	for path, ca := range map[string]*certs.CA{
		"/root.crl":    members.Root,
		"/members.crl": members.Issuing,
	} {
		der, err := ca.CRL(certs.CRLTemplate{
			Number:     1,
			ThisUpdate: time.Now().Add(-time.Minute),
			NextUpdate: time.Now().AddDate(0, 0, 30),
		})
		if err != nil {
			return nil, err
		}
		lists[path] = der
	}

	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/pkix-crl")
		_, _ = w.Write(lists[r.URL.Path]) // whoever asks may be gone
	})}
	go func() { _ = s.Serve(l) }() // ends with Close

	return s, nil
}
