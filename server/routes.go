package server

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/export"
	"fhirdest.example/fhir/load"
	"fhirdest.example/server/rate"
)

// routes puts everything that the public listener answers in its place. What
// is at a URL under the public site is under the private one too.
func (s *Site) routes() (*front, error) {
	public, private := newRouter(), newRouter()
	pages := sharing{
		cors:  s.cfg.CORS,
		paths: map[string]audience{},
	}
	mount := func(of audience) func(string, http.Handler) {
		return func(publicURL string, h http.Handler) {
			p := pathOf(publicURL)
			public.exact(p, h)
			private.exact(s.cfg.privatePath(p), h)
			pages.add(s.cfg, p, of)
		}
	}

	// The authorization server: register, token, introspect, revoke, and the
	// discovery documents.
	s.oauth.Routes(mount(listedPages))
	s.oauth.Documents(mount(anyPages))
	pages.add(s.cfg, pathOf(s.oauth.URLs().Authorize), nobodysPages)
	if s.people != nil {
		s.people.Routes(mount(nobodysPages)) // signin, consent, grants, signout
	}
	if s.tiered != nil {
		s.tiered.Routes(mount(nobodysPages)) // callback/ID of each identity provider, logo.png
	}

	var bases []string
	if s.cfg.FHIR == "on" {
		// The FHIR service has the rest under its base.
		records, err := s.newFHIR()
		if err != nil {
			return nil, err
		}

		pages.add(s.cfg, pathOf(s.cfg.Public)+"/metadata", anyPages)
		public.below(pathOf(s.cfg.Public), "fhir", records)
		private.below(pathOf(s.cfg.Private), "fhir", records)
		bases = []string{pathOf(s.cfg.Public), pathOf(s.cfg.Private)}
	}

	s.paths = slices.Sorted(maps.Keys(public.paths))
	f := &front{
		public:  authoritiesOf(s.cfg.Public),
		private: authoritiesOf(s.cfg.Private),
		toPub:   public,
		toPriv:  private,
		fhir:    bases,
		sharing: pages,
		pools:   newPools(s.cfg.Limits),
		room:    newRoom(s.cfg.Limits.Body),
		limits:  s.cfg.Limits,
		times:   s.cfg.Timeouts,
		log:     s.deps.Log,
		meter:   s.meter,
		record:  s.decisions.Record,
		await:   s.stores.Await,
		now:     s.deps.Now,
	}
	public.front = f
	private.front = f

	return f, nil
}

func (s *Site) newFHIR() (*fhir.Service, error) {
	jobs, err := s.newJobs()
	if err != nil {
		return nil, err
	}

	s.jobs = jobs
	urls := s.oauth.URLs()
	c := fhir.Config{
		PublicBase:        s.cfg.Public,
		PrivateBase:       s.cfg.Private,
		Store:             s.stores.Resources,
		Authorize:         s.bearer,
		Jobs:              jobs,
		Now:               s.deps.Now,
		StrictAttachments: s.cfg.Attachments == "refuse",
		Consents:          s.cfg.Consents.policy(),
		Provenance:        s.cfg.Provenance == "on",
		Signatures:        &signatureAuthority{s},
		Labels:            s.cfg.Labels,
		MaxBody:           int64(s.cfg.Limits.Body),
		CORS:              len(s.cfg.CORS.Origins) > 0,
		Services: map[string]string{
			"register":   urls.Register,
			"token":      urls.Token,
			"introspect": urls.Introspect,
			"revoke":     urls.Revoke,
		},
		MatchWait: rate.New(s.cfg.Rates.MatchesPerClient).Acquire,
		Decided:   s.decisions.Record,
		Failed: func(r *http.Request, err error) {
			method := "" // none when the audit record fails on its own time
			if r != nil {
				method = r.Method
			}
			s.deps.Log.Error("the FHIR service failed", "method", method, "cause", err)
		},
	}
	service, err := fhir.New(c)
	if err != nil {
		return nil, err
	}

	s.service = service
	jobs.Kinds = map[string]async.Kind{
		"$export": export.New(export.Config{
			PublicBase: s.cfg.Public,
			Store:      s.stores.Resources,
			Service:    service,
		}),
		"$import": &load.Import{
			PublicBase: s.cfg.Public,
			Service:    service,
		},
	}
	return service, service.Seed(context.Background(), s.cfg.Patients)
}

func pathOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return "" // checkText has checked all base URLs
	}
	return u.EscapedPath()
}

// privatePath returns the path under the private site for one under the public
// site. One outside of the site (RFC 8414's well-known path) has the
// site as its end.
func (c Config) privatePath(p string) string {
	from, to := pathOf(site(c.Public)), pathOf(site(c.Private))
	if rest, ok := strings.CutPrefix(p, from+"/"); ok {
		return to + "/" + rest
	}
	if i := strings.LastIndex(p, from+"/"); i >= 0 {
		return p[:i] + to + p[i+len(from):]
	}
	return p
}

// publicURL returns the URL of a request as its client knows it, without query:
// under the public site, whichever authority it came to.
func (s *Site) publicURL(r *http.Request) string {
	path := rawPath(r)
	from, to := pathOf(site(s.cfg.Private)), pathOf(site(s.cfg.Public))
	if rest, ok := strings.CutPrefix(path, from+"/"); ok && !authoritiesOf(s.cfg.Public).has(r.Host) {
		path = to + "/" + rest
	}

	return strings.TrimSuffix(site(s.cfg.Public), to) + path
}

// rawPath returns the path of a request target as it was received.
func rawPath(r *http.Request) string {
	target, _, _ := strings.Cut(r.RequestURI, "?")
	if _, rest, absolute := strings.Cut(target, "://"); absolute {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return "/"
	}

	return target
}

// router finds the handler of a path: one path of its own in a table, and what is below
// a path in gorilla/mux, without its liberties: no path is cleaned or decoded, and what
// does not match is answered by the front.
type router struct {
	paths map[string]http.Handler
	mux   *mux.Router
	front *front
}

func newRouter() *router {
	r := &router{
		paths: map[string]http.Handler{},
		mux:   mux.NewRouter().SkipClean(true).UseEncodedPath(),
	}
	r.mux.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.front.refuse(w, req, http.StatusNotFound, "there is nothing at this path")
	})
	return r
}

// exact mounts a handler at one path, unless another one is there. Methods are its own
// business.
func (r *router) exact(path string, h http.Handler) {
	if r.paths[path] == nil {
		r.paths[path] = named(path[strings.LastIndexByte(path, '/')+1:], h)
	}
}

// below mounts a handler at a path and everything under it, but for the paths that have
// handlers of their own.
func (r *router) below(path, name string, h http.Handler) {
	r.mux.Path(path).Handler(named(name, h))
	r.mux.PathPrefix(path + "/").Handler(named(name, h))
}

// ServeHTTP compares paths as they were sent, escapes included.
func (r *router) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if h := r.paths[req.URL.EscapedPath()]; h != nil {
		h.ServeHTTP(w, req)
		return
	}
	r.mux.ServeHTTP(w, req)
}

// named notes which route a request took, for the metrics.
func named(name string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, ok := w.(*answer); ok {
			a.route = name
		}
		h.ServeHTTP(w, r)
	})
}
