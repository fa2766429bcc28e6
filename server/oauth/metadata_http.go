package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/trace"
)

// The checks of a request for metadata.
var (
	checkCommunityParam = trace.NewCheck("metadata.community",
		"community is at most once in the query and is a URI",
		"S1-060 S1-061 S1-062")
	checkCommunityKnown = trace.NewCheck("metadata.known", "This server has a certificate of the community",
		"S1-062 S1-064 S1-065 S2-01 S2-02")
	checkMetadataMethod = trace.NewCheck("metadata.method", "Metadata is asked for by GET or HEAD", "S1-013")
)

// maxCommunity bounds the community parameter, in bytes.
const maxCommunity = 2048

// discovery serves a Service's discovery documents.
type discovery struct{ *Service }

// Documents mounts the discovery documents by their public URLs.
func (s *Service) Documents(mount func(url string, h http.Handler)) {
	d := discovery{s}
	mount(s.cfg.Base+"/.well-known/udap", d.metadataHandler(d.serveUDAP))
	if !s.cfg.NoFHIR {
		mount(s.cfg.Base+"/.well-known/smart-configuration", d.metadataHandler(d.present(func(t *trust) document {
			return t.smart
		})))
	}

	mount(wellKnown(s.urls.Issuer, "oauth-authorization-server"),
		d.metadataHandler(d.present(func(t *trust) document {
			return t.server
		})))

	mount(s.urls.JWKS, d.metadataHandler(func(*http.Request, *trace.Trace) (document, error) {
		return *s.keys.document.Load(), nil
	}))

	if (openid{s}).offered() { // the same document as RFC 8414's
		mount(s.urls.Issuer+"/.well-known/openid-configuration", d.metadataHandler(d.present(func(t *trust) document {
			return t.server
		})))
	}
}

// document is an answer of a metadata endpoint; without a body it is 204.
type document struct {
	body    []byte
	etag    string
	warning string // of a 204: why there is none
}

// metadataHandler is the HTTP shell of all discovery documents: anyone may read
// them, from a browser too, whatever credentials come along (UDAP Security 2.0,
// 2.1).
func (s discovery) metadataHandler(find func(*http.Request, *trace.Trace) (document, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		tr := trace.NewTrace("metadata", s.cfg.Now())
		d, err := s.findDocument(r, tr, find)
		if err != nil || d.body == nil {
			s.Record(tr) // only what a tester will ask about: good answers are many and alike
			h.Set("Trace-Id", tr.ID)
			h.Set("Cache-Control", "no-store")
		}

		switch {
		case err != nil:
			shell(s).writeRefusal(w, RefusalOf(err), tr)
		case d.body == nil:
			if d.warning != "" && s.cfg.Explain == ExplainClient {
				h.Set("Warning", `199 - "`+describe(d.warning)+`"`) // RFC 7234 5.5: a 204 has no other room
			}
			w.WriteHeader(http.StatusNoContent)

		default:
			writeDocument(w, r, d)
		}
	})
}

// Record hands a trace on when the request that it is about has been answered. What
// has an HTTP shell in this package records its own.
func (s *Service) Record(tr *trace.Trace) {
	if s.cfg.Record != nil {
		s.cfg.Record(tr)
	}
}

func (s discovery) findDocument(
	r *http.Request, tr *trace.Trace, find func(*http.Request, *trace.Trace) (document, error),
) (document, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		err := tr.Refuse(checkMetadataMethod, trace.InvalidRequest, trace.Finding{
			Expected: "GET or HEAD",
			Found:    r.Method,
		})
		return document{}, &Refusal{
			Of:     err,
			Status: http.StatusMethodNotAllowed,
			Header: http.Header{"Allow": {"GET, HEAD"}},
		}
	}

	return find(r, tr)
}

// writeDocument answers with a document, or 304 if the client has it already. It
// is private to the client: a shared cache that ignores the query would answer
// with another community's metadata.
func writeDocument(w http.ResponseWriter, r *http.Request, d document) {
	h := w.Header()
	h.Set("Cache-Control", "private, max-age="+strconv.Itoa(int(metadataAge.Seconds())))
	h.Set("ETag", d.etag)
	if matchesETag(r.Header.Values("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}

	h.Set("Content-Type", jsonType)
	h.Set("Content-Length", strconv.Itoa(len(d.body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(d.body) // the client is gone
	}
}

// matchesETag compares weakly (RFC 9110 13.1.2).
func matchesETag(values []string, etag string) bool {
	for _, part := range strings.Split(strings.Join(values, ","), ",") {
		part = strings.TrimSpace(part)
		if part == "*" || strings.TrimPrefix(part, "W/") == etag {
			return true
		}
	}
	return false
}

// constant makes a document that stays as it is.
func constant(v any) (document, error) {
	body, err := json.Marshal(v, json.Deterministic(true))
	sum := sha256.Sum256(body)
	return document{
		body: body,
		etag: `"` + hex.EncodeToString(sum[:12]) + `"`,
	}, err
}

// present serves a document of the present trust.
func (s discovery) present(of func(*trust) document) func(*http.Request, *trace.Trace) (document, error) {
	return func(*http.Request, *trace.Trace) (document, error) {
		return of(s.trust.Load()), nil
	}
}

// serveUDAP finds the metadata of the community that is asked for. For one
// that this server does not know or cannot sign for the answer is 204, or, by
// configuration, the default metadata (UDAP Security 2.0, 2.4).
func (s discovery) serveUDAP(r *http.Request, tr *trace.Trace) (document, error) {
	community, err := communityParam(r.URL.RawQuery)
	if err != nil {
		return document{}, tr.Refuse(checkCommunityParam, trace.InvalidRequest, trace.Finding{
			Expected: "community once, as a URI",
			Found:    err.Error(),
			Err:      err,
		})
	}

	if community != "" {
		tr.Community = community
		unserved := trace.Finding{
			Expected: "one of " + s.communitiesShown(),
			Found:    string(community),
		}
		publishers := s.trust.Load().publishers
		i := slices.IndexFunc(publishers, func(p *publisher) bool {
			return p.member.Community.URI == community
		})
		if i >= 0 {
			st := publishers[i].get(r.Context())
			if st.err == nil {
				return document{
					body: st.body,
					etag: st.etag,
				}, nil
			}
			unserved = s.withheldFinding(withheld(community, st.err))
		}

		tr.Warn(checkCommunityKnown, unserved)
		if !s.cfg.UnknownCommunityDefault {
			return document{warning: unserved.Found + " " + unserved.Remedy}, nil
		}
	}

	return s.defaultMetadata(r, tr)
}

// withheldFinding describes a community whose metadata is withheld, with what the
// operator can do.
func (s discovery) withheldFinding(w Withheld) trace.Finding {
	f := trace.Finding{
		Expected: "metadata that clients can verify",
		Found:    fmt.Sprintf("the metadata of %s is withheld: %s", w.Community, w.Reason),
	}
	if s.cfg.WithheldRemedy != nil {
		f.Remedy = s.cfg.WithheldRemedy(w)
	}
	return f
}

// defaultMetadata returns that of the first community that has any.
func (s discovery) defaultMetadata(r *http.Request, tr *trace.Trace) (document, error) {
	first := trace.Finding{
		Expected: "metadata of a community",
		Found:    "none is configured",
	}

	for i, p := range s.trust.Load().publishers {
		st := p.get(r.Context())
		if st.err == nil {
			return document{
				body: st.body,
				etag: st.etag,
			}, nil
		}
		if i == 0 {
			first = s.withheldFinding(withheld(p.member.Community.URI, st.err))
		}
	}

	err := tr.Refuse(checkCommunityKnown, trace.TemporarilyUnavailable, first)
	return document{}, &Refusal{
		Of:     err,
		Status: http.StatusNotFound,
	}
}

func (s discovery) communitiesShown() string {
	var uris []string
	for _, p := range s.trust.Load().publishers {
		uris = append(uris, string(p.member.Community.URI))
	}
	return strings.Join(uris, ", ")
}

// communityParam reads the community parameter; empty means that none is named.
func communityParam(query string) (trace.CommunityURI, error) {
	if len(query) > 4*maxCommunity {
		return "", fmt.Errorf("a query of %d bytes", len(query))
	}
	if strings.ContainsAny(query, "#;") {
		return "", errors.New("a query with # or ; in it")
	}

	values, err := url.ParseQuery(query)
	if err != nil {
		return "", errors.New("a badly escaped query")
	}

	named := values["community"]
	switch {
	case len(named) == 0:
		return "", nil
	case len(named) > 1:
		return "", errors.New("community more than once")
	case len(named[0]) > maxCommunity:
		return "", fmt.Errorf("a community of %d bytes", len(named[0]))
	case strings.ContainsFunc(named[0], func(c rune) bool {
		return c <= 0x20 || c >= 0x7f || strings.ContainsRune(`<>"{}|\^`+"`", c)
	}):
		return "", errors.New("a community with characters that no URI has")
	}

	return trace.CommunityURI(named[0]), nil
}
