package udap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap/trace"
)

// Bounds of the fetching of issuers for one path.
const (
	maxIssuerFetches = 3
	issuerBudget     = 5 * time.Second
	maxFetchedCerts  = 8
)

var checkAIA = trace.NewCheck("chain.aia",
	"Issuers that the client left out are fetched only from origins that the community's policy names", "S1-105 S1-176")

// pathsWithin finds the paths to one community. When an issuer is missing and
// the community's policy names origins of issuers' certificates, it fetches
// some and looks again: what was fetched counts only if a path then verifies.
func (val *validation) pathsWithin(s *search, leaf *x509.Certificate) ([][]*x509.Certificate, *certFault) {
	paths, f := findPaths(s, leaf)
	switch {
	case len(paths) > 0:
		return paths, nil
	case val.v.Issuers == nil || len(s.community.Policy.AIA) == 0:
		f.tried("nothing was fetched: the community's policy names no origin of issuers (AIA)")
		return nil, f
	}

	ctx, cancel := context.WithTimeout(val.ctx, issuerBudget)
	defer cancel()
	var notes, asked []string
	var failures error
	for len(paths) == 0 && len(asked) < maxIssuerFetches && ctx.Err() == nil {
		place := nextIssuerURL(s, leaf, asked)
		if place == "" {
			break
		}

		asked = append(asked, place)
		note, err := val.fetchIssuers(ctx, s, place)
		notes, failures = append(notes, note), errors.Join(failures, err)
		s.nearest, s.reach = nil, 0
		paths, f = findPaths(s, leaf)
	}

	f.tried(val.noteAIA(s, len(paths) > 0, notes))
	if f != nil && f.missing {
		f.err = errors.Join(f.err, failures)
	}
	return paths, f
}

// tried adds to a missing issuer what became of looking for it.
func (f *certFault) tried(text string) {
	if f != nil && f.missing {
		f.found += "; " + text
	}
}

func (val *validation) fetchIssuers(ctx context.Context, s *search, place string) (note string, err error) {
	certs, err := val.v.Issuers.Issuers(ctx, place)
	if err != nil {
		return fmt.Sprintf("%s: not available (%v)", trace.Cut(place, 150), err), err
	}
	s.pool = pool(s.pool, certs[:min(len(certs), maxFetchedCerts)])
	return fmt.Sprintf("%s: %d certificate(s)", trace.Cut(place, 150), len(certs)), nil
}

// noteAIA records a warning if a fetched issuer was needed, or why fetching did
// not help, and returns the text.
func (val *validation) noteAIA(s *search, helped bool, notes []string) string {
	found := strings.Join(notes, "; ")
	switch {
	case helped:
		val.tr.Warn(checkAIA, trace.Finding{
			Expected: "every issuer in x5c",
			Found:    found,
			Remedy:   "send the intermediate certificates in x5c: other servers fetch nothing",
		})

		return found

	case len(notes) > 0:
		found = "fetched (AIA), and no path came of it: " + found
	default:
		found = fmt.Sprintf("nothing was fetched: no certificate names an issuer (AIA) at one of the origins %v",
			s.community.Policy.AIA)
	}

	val.tr.Skip(checkAIA, found)
	return found
}

// nextIssuerURL gives the first URL, not asked yet and at an allowed origin,
// for a certificate in reach whose issuer is not in the pool.
func nextIssuerURL(s *search, leaf *x509.Certificate, asked []string) string {
	for _, c := range append([]*x509.Certificate{leaf}, s.pool...) {
		if !orphan(s, c) {
			continue
		}

		for _, u := range c.IssuingCertificateURL {
			if !slices.Contains(asked, u) && atOrigin(u, s.community.Policy.AIA) {
				return u
			}
		}
	}

	return ""
}

// orphan reports whether no certificate of the pool or the anchors issued c.
func orphan(s *search, c *x509.Certificate) bool {
	issued := func(p *x509.Certificate) bool {
		return SameName(p.RawSubject, c.RawIssuer) && s.sigs.verify(c, p) == nil
	}
	return !slices.ContainsFunc(s.pool, issued) && !slices.ContainsFunc(s.community.Anchors, issued)
}

// atOrigin reports whether a URL is at one of the origins, written
// scheme://host:port; a port that is the scheme's own may be left out.
func atOrigin(text string, origins []string) bool {
	o := netname.Origin(text)
	return o != "" && slices.ContainsFunc(origins, func(allowed string) bool {
		return netname.Origin(allowed) == o
	})
}
