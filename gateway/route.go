package gateway

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"fhirdest.example/gateway/wire"
)

// route is a Route made ready.
type route struct {
	Route
	next         next
	tls          *tls.Config
	preconnected preconnected
	trouble      atomic.Pointer[Trouble] // since its last whole answer; nil: none

	endpoints []*endpoint // at least one
	turn      int         // of endpoints, for the next connection; guarded by Gateway.endpoints
}

// mapped reports whether the prefix and the Host are replaced on the way.
func (r *route) mapped() bool { return r.next.path != "" }

// several reports whether the next hop has several addresses.
func (r *route) several() bool { return len(r.endpoints) > 1 }

// table finds routes by host and prefix.
type table struct {
	routes        []*route
	preconnecting []*route // with connections that are made before they are needed
	several       []*route // with several addresses of the next hop
	endpoints     map[endpointKey]*endpoint
	hosts         map[string]*served // in lower case; wildcards begin with "*."
}

// served are the prefixes of a host, without their trailing slashes.
type served struct {
	routes   map[string]*route
	lengths  []int  // of the prefixes, each once, longest first
	whole    *route // of the last of the shortest prefixes, for requests that have no path
	shortest int    // its length
}

// newTable returns the table of the routes, with those endpoints that are known already.
func newTable(routes []Route, known map[endpointKey]*endpoint) (*table, error) {
	t := &table{
		hosts:     map[string]*served{},
		endpoints: map[endpointKey]*endpoint{},
	}

	for _, r := range routes {
		n, err := parseNext(r.Next)
		if err != nil {
			continue // Route.check complains
		}

		ready := &route{
			Route: r,
			next:  n,
			tls:   upstreamTLS(r.TLS, n.name),
		}
		t.routes = append(t.routes, ready)
		if t.connect(ready, known); ready.several() {
			t.several = append(t.several, ready)
		}

		if r.Spares > 0 {
			t.preconnecting = append(t.preconnecting, ready)
		}
		if err := t.add(ready); err != nil {
			return nil, err
		}
	}

	for _, s := range t.hosts {
		for prefix := range s.routes {
			s.lengths = append(s.lengths, len(prefix))
		}

		slices.Sort(s.lengths)
		s.lengths = slices.Compact(s.lengths)
		slices.Reverse(s.lengths)
	}

	return t, nil
}

// connect gives r its endpoints.
func (t *table) connect(r *route, known map[endpointKey]*endpoint) {
	addresses := r.Dial
	if len(addresses) == 0 {
		addresses = []string{r.next.address}
	}

	for _, a := range addresses {
		key := endpointKey{r.Name, a}
		if t.endpoints[key] == nil {
			t.endpoints[key] = known[key]
		}
		if t.endpoints[key] == nil {
			t.endpoints[key] = &endpoint{endpointKey: key}
		}
		r.endpoints = append(r.endpoints, t.endpoints[key])
	}
}

// sortedEndpoints returns the endpoints of all routes, by route and address.
func (t *table) sortedEndpoints() []*endpoint {
	return slices.SortedFunc(maps.Values(t.endpoints), func(a, b *endpoint) int {
		return cmp.Or(strings.Compare(a.route, b.route), strings.Compare(a.address, b.address))
	})
}

// add enters a route under each of its hosts and prefixes.
func (t *table) add(r *route) error {
	prefixes := r.Prefixes
	if len(prefixes) == 0 {
		prefixes = []string{""}
	}

	for _, h := range r.Hosts {
		for _, h := range spellings(h) {
			if t.hosts[h] == nil {
				t.hosts[h] = &served{routes: map[string]*route{}}
			}

			for _, p := range prefixes {
				p = strings.TrimRight(p, "/")
				if other := t.hosts[h].routes[p]; other != nil {
					return fmt.Errorf(
						"gateway: routes %q and %q both take %s%s",
						other.Name,
						r.Name,
						h,
						p,
					)
				}

				t.hosts[h].add(p, r)
			}
		}
	}

	return nil
}

// add enters the route of a prefix.
func (s *served) add(prefix string, r *route) {
	s.routes[prefix] = r
	if s.whole == nil || len(prefix) <= s.shortest {
		s.whole, s.shortest = r, len(prefix)
	}
}

// find returns the route of the longest prefix of path, and the prefix's length.
func (s *served) find(path []byte) (*route, int) {
	for _, n := range s.lengths {
		if !prefixEnds(path, n) {
			continue
		}
		if r := s.routes[string(path[:n])]; r != nil {
			return r, n
		}
	}

	return nil, 0
}

// spellings of an authority: 443 is the port of https, written or not.
func spellings(h string) []string {
	h = strings.ToLower(h)
	if bare, ok := strings.CutSuffix(h, ":443"); ok {
		return []string{h, bare}
	}
	if i := strings.LastIndexByte(h, ':'); i < 0 || strings.HasSuffix(h, "]") {
		return []string{h, h + ":443"}
	}
	return []string{h}
}

// find returns what is served of a host, or nil.
func (t *table) find(host []byte) *served {
	if s, ok := t.hosts[string(host)]; ok {
		return s
	}

	low := bytes.ToLower(host)
	if s, ok := t.hosts[string(low)]; ok && low[0] != '*' {
		return s
	}
	if i := bytes.IndexByte(low, '.'); i > 0 && isLabel(low[:i]) {
		return t.hosts["*"+string(low[i:])]
	}

	return nil
}

// isLabel reports whether b, in lower case, is a label of a name: a wildcard is for one, and
// not for all that a Host field may hold. It is letters, digits, hyphens and underscores.
func isLabel(b []byte) bool {
	for _, c := range b {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// way is where one request goes.
type way struct {
	route *route
	// authority and prefix are the places in the target that a mapped route
	// replaces; only an absolute-form target has an authority.
	authority, prefix [2]int
}

// route routes a request (RFC 9112, 3.2), or returns the fault to answer with.
func (t *table) route(r *wire.Request) (way, *fault) {
	var w way
	host := t.find(r.Host)
	if host == nil || len(r.Host) == 0 || r.Host[0] == '*' {
		return w, faultHost
	}

	from, bad := w.path(r)
	if bad != nil {
		return w, bad
	}
	if from < 0 { // OPTIONS *
		w.route = host.whole
		return w, nil
	}

	found, n := host.find(r.Target[from:])
	if found == nil {
		return w, faultRoute
	}

	w.route = found
	w.prefix = [2]int{from, from + n}
	return w, nil
}

// path returns where the path begins in the target, or -1 when the server as a whole
// is meant.
func (w *way) path(r *wire.Request) (int, *fault) {
	switch {
	case string(r.Method) == "CONNECT":
		return 0, faultTarget
	case r.Target[0] == '/':
		return 0, nil
	case string(r.Target) == "*" && string(r.Method) == "OPTIONS":
		return -1, nil
	}

	from, to, ok := r.Authority() // which is Host, else wire refuses it
	switch {
	case !ok:
		return 0, faultTarget
	case !strings.EqualFold(string(r.Target[:from]), "https://"):
		return 0, faultHost
	}

	w.authority = [2]int{from, to}
	return to, nil
}

// prefixEnds reports whether a prefix of n bytes may end there: before "/" or "?", or
// with the path.
func prefixEnds(path []byte, n int) bool {
	return len(path) == n || len(path) > n && (path[n] == '/' || path[n] == '?')
}

// rewrite appends the head with the prefix and the Host of a mapped route replaced,
// and nothing else.
func (w *way) rewrite(b, head []byte, r *wire.Request) []byte {
	at := r.TargetAt()
	last := 0
	replace := func(from, to int, by string) {
		b = append(append(b, head[last:from]...), by...)
		last = to
	}
	if w.authority[1] > 0 {
		replace(at+w.authority[0], at+w.authority[1], w.route.next.authority)
	}

	if string(r.Target) != "*" {
		replace(at+w.prefix[0], at+w.prefix[1], w.route.next.path)
	}
	replace(r.HostAt, r.HostAt+len(r.Host), w.route.next.authority)
	return append(b, head[last:]...)
}
