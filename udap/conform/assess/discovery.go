package assess

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// discovering assesses what a client makes of the metadata.
type discovering struct{ *Assessor }

// announced is what a client last got as the metadata.
type announced struct {
	community trace.CommunityURI // that was asked for; empty: none

	n      uint64
	bad    string // why signed_metadata must not be trusted; empty: nothing was found
	gone   bool   // 404 or 204: no UDAP here
	whole  bool   // the document was seen whole
	plain  jose.Object
	signed jose.Object
}

// endpoint returns the URL of an endpoint; signed values count (UDAP Security 2.0, 2.3).
func (m *announced) endpoint(name string) string {
	if s, ok := m.signed.Text(name); ok {
		return s
	}
	s, _ := m.plain.Text(name)
	return s
}

// discovery assesses a request for the metadata of UDAP.
func (a discovering) discovery(r *request) {
	if communities, ok := r.query["community"]; ok {
		a.community(r, communities)
	}

	if m := r.lane.announced; m != nil {
		if m.bad != "" && r.place == metadata {
			r.shows("S2-07")
		}
		if m.gone {
			r.shows("S1-016")
		}
	}

	switch {
	case r.Method != "GET":
	case r.Status == 404, r.Status == 204:
		r.lane.learns(&announced{
			community: asked(r),
			n:         r.N,
			gone:      true,
		})
	case r.Status == 200:
		r.lane.learns(a.readMetadata(r))
		a.metadata.set(r.Address, r.lane.announced)
	}
}

// asked returns the community for whose metadata a request asks.
func asked(r *request) trace.CommunityURI {
	return trace.CommunityURI(trace.Cut(r.query.Get("community"), maxURL))
}

// learns takes note of metadata. A client that is in several communities may find one
// that is unknown, or whose metadata it must not trust, and go on in another.
func (l *lane) learns(m *announced) {
	old := l.announced
	if old != nil && old.sound() && !m.sound() && old.community != m.community {
		return
	}
	l.announced = m
}

// sound reports whether nothing was found that forbids to go on.
func (m *announced) sound() bool { return !m.gone && m.bad == "" }

// community assesses the parameter community (UDAP Security 2.0, 2.4).
func (a discovering) community(r *request, values []string) {
	r.shows("S1-060")
	u, err := url.Parse(values[0])
	switch {
	case len(values) > 1:
		r.violates("S1-061", mistake{
			text:     "community is in the query more than once",
			expected: "one community",
			found:    strings.Join(values, " "),
			remedy:   "ask for one community at a time",
		})
	case err != nil || u.Scheme == "":
		r.violates("S1-061", mistake{
			text:     "the community that was asked for is not a URI",
			expected: "a URI, such as urn:oid:2.16.840.1",
			found:    quote(values[0]),
			remedy:   "send the URI by which the trust community names itself",
		})
	default:
		r.shows("S1-061")
	}
}

// readMetadata returns the metadata that an answer has, with what is wrong about it.
func (a discovering) readMetadata(r *request) *announced {
	m := &announced{
		community: asked(r),
		n:         r.N,
		plain:     r.answer,
	}
	if r.Answer.Length > int64(len(r.Answer.Body)) && !r.Cut {
		return m // not kept whole: nothing can be known
	}

	if r.answer == nil {
		m.bad = "the metadata was not one JSON object"
		return m
	}

	m.whole = true
	compact, ok := r.answer.Text("signed_metadata")
	if !ok {
		m.bad = "the metadata had no signed_metadata"
		return m
	}
	d := decode("signed metadata", compact)
	if d.jws == nil {
		m.bad = "signed_metadata was not a compact JWT"
		return m
	}

	m.signed = d.jws.Claims
	m.bad = a.distrust(d, r.Answered)
	return m
}

// distrust returns why signed metadata must not be trusted, by what the document
// itself shows (UDAP Server Metadata 3); empty if nothing was found.
func (a discovering) distrust(d *document, now time.Time) string {
	if d.certFault != nil {
		return "signed_metadata had no certificate chain in x5c"
	}
	if f := d.jws.CheckAlgorithm(); f != nil {
		return "signed_metadata had the algorithm " + f.Found
	}
	if f := d.jws.Verify(d.certs); f != nil {
		return "the signature of signed_metadata was wrong"
	}

	iss := d.text("iss")
	exp, hasExp := d.number("exp")
	iat, hasIat := d.number("iat")
	leaf := d.certs[0]
	const yearAtMost = 366 * 24 * 3600

	switch {
	case iss != a.set.Base && a.set.Base != "":
		return "iss of signed_metadata was " + quote(iss) + ", not the base URL"
	case !slices.Contains(d.names(), iss):
		return "iss of signed_metadata was no URI name of its certificate"
	case d.text("sub") != iss:
		return "sub of signed_metadata was not iss"
	case !hasExp || int64(exp) < now.Unix():
		return "signed_metadata had expired"
	case !hasIat || exp-iat > yearAtMost:
		return "signed_metadata lived for more than a year"
	case now.After(leaf.NotAfter) || now.Before(leaf.NotBefore):
		return "the certificate of signed_metadata was out of its dates"
	}

	for _, name := range []string{"token_endpoint", "registration_endpoint"} {
		if !d.has(name) {
			return "signed_metadata had no " + name
		}
	}
	return ""
}

// uses assesses that a client goes on with what the metadata said: that it was
// there, that it could be trusted, and that the endpoint is the one it named.
func (a discovering) uses(r *request, endpoint, path string) {
	m := r.lane.announced
	if m == nil {
		r.warns("S1-021", "the endpoint was used, and the metadata was never read by this client or from its address: "+
			"is it configured by hand?",
			"read BASE/.well-known/udap first and use the endpoints that it has")
		return
	}

	if m.gone {
		r.violates("S1-016", mistake{
			text:     "the metadata was answered with no document, and the client went on with UDAP",
			expected: "no UDAP workflow after 404 or 204",
			found:    "a request of the " + path + " endpoint",
			remedy:   "read 404 or 204 at the metadata as: no UDAP here, or none for this community",
		})
	}
	if m.bad != "" {
		r.violates("S2-07", mistake{
			text:     "the client went on although " + m.bad,
			expected: "no workflow with this server",
			found:    "a request of the " + path + " endpoint",
			remedy:   "verify signed_metadata (signature, chain, revocation, iss, sub, exp), and stop when it fails",
		})
	}

	want := m.endpoint(endpoint)
	switch {
	case want == "" || !m.whole:
	case pathOf(want) != pathOf(r.Target):
		r.violates("S1-021", mistake{
			text:     "this is not the " + path + " endpoint that the metadata has",
			expected: want,
			found:    pathOf(r.Target),
			remedy:   "use " + endpoint + " of signed_metadata, which counts before the plain element",
		})
	default:
		r.shows("S1-021")
	}
}

// guesses assesses a request of an endpoint of OAuth's at a path that no metadata has.
func (a discovering) guesses(r *request) {
	path := ""
	body, _ := jose.ParseObject(r.Request.Body)
	switch {
	case r.Method != "POST":
	case parseForm(string(r.Request.Body)).Has("grant_type"):
		path = "token"
	case body.Has("software_statement"):
		path = "registration"
	}

	m := r.lane.announced
	if path == "" || m == nil || !m.whole {
		return
	}
	if want := m.endpoint(path + "_endpoint"); want != "" && pathOf(want) != pathOf(r.Target) {
		r.violates("S1-021", mistake{
			text:     "this is not the " + path + " endpoint that the metadata has",
			expected: want,
			found:    pathOf(r.Target),
			remedy:   "use " + path + "_endpoint of signed_metadata, which counts before the plain element",
		})
	}
}

// pathOf returns the path of a URL or of a request target.
func pathOf(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok {
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			return "/"
		}
		target = rest[i:]
	}
	path, _, _ := strings.Cut(target, "?")
	return path
}

// supports assesses that a value is one of an array of the metadata.
func (r *request) supports(member, value string) {
	m := r.lane.announced
	if m == nil || !m.whole || value == "" || r.found("S1-007") != nil {
		return
	}

	list, ok := m.plain.List(member)
	switch {
	case !ok || slices.Contains(list, value):
	case len(list) == 0:
		r.violates("S1-020", mistake{
			text:     member + " is an empty array: the server does not support " + trace.Cut(value, maxShown),
			expected: "nothing of " + member,
			found:    quote(value),
			remedy:   "read an empty array as: not supported",
		})
	default:
		r.violates("S1-021", mistake{
			text:     "the metadata does not have " + trace.Cut(value, maxShown) + " in " + member,
			expected: strings.Join(list, ", "),
			found:    quote(value),
			remedy:   "choose one of the values that the metadata has",
		})
	}
}
