package assess

import (
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/udap"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// extensions returns the extension objects of an authentication token.
func (r *request) extensions() (jose.Object, bool) {
	if !r.doc.has("extensions") {
		return nil, false
	}
	o, err := jose.ParseObject(r.doc.jws.Claims["extensions"])
	return o, err == nil
}

// business assesses the hl7-b2b object of client_credentials (UDAP Security 2.0,
// 5.2.1.1).
func (a redeeming) business(r *request) {
	if r.doc == nil || r.doc.jws == nil || r.forged() {
		return
	}

	ext, _ := r.extensions()
	b2b, err := jose.ParseObject(ext["hl7-b2b"])
	tefca := a.profile(r) == conform.TEFCA
	if tefca {
		purpose{r}.tefcaNames(ext)
	}

	if m, lacks := r.lacksB2B(ext, err); lacks {
		r.violates("S1-198", m)
		return
	}
	r.shows("S1-198")
	if !ext.Has("hl7-b2b") {
		return // another extension of those that take its place
	}

	p := purpose{r}
	p.version(b2b)
	p.subject(b2b)
	p.organization(b2b)
	if tefca {
		p.tefcaContext(b2b)
	}
	p.purposes(b2b)
	p.consent(b2b)
}

// lacksB2B reports whether there is no hl7-b2b object where there must be one, and what
// is there.
func (r *request) lacksB2B(ext jose.Object, err error) (m mistake, lacks bool) {
	const name = "hl7-b2b"
	m.found = r.doc.shown("extensions")

	switch {
	case r.doc.has("extensions") && ext == nil:
		m.text = "extensions of the authentication token is no JSON object, so there is no hl7-b2b object"
		m.expected = "extensions as a JSON object with hl7-b2b in it"
		m.remedy = "let extensions be the object itself, not a string or an array that holds one"
	case !ext.Has(name) && r.doc.has(name):
		m.text = "hl7-b2b of the authentication token is a claim of its own, beside extensions"
		m.expected = "extensions with hl7-b2b in it"
		m.remedy = "move hl7-b2b into the claim extensions"
	case !ext.Has(name) && (ext.Has(udap.IASKey) || ext.Has("hl7-b2b-user")):
		return mistake{}, false
	case !ext.Has(name):
		m.text = "the authentication token has no hl7-b2b object"
		m.expected = "extensions with hl7-b2b"
		m.remedy = "state for whom and for which purpose the data is asked for" + ext.DidYouMean(name)
	case err != nil:
		m.text = "hl7-b2b is not a JSON object"
		m.expected = "a JSON object"
		m.found = ext.Kind(name)
	default:
		return mistake{}, false
	}

	return m, true
}

// purpose assesses for whom and for what a client asks.
type purpose struct{ *request }

func (r purpose) version(b2b jose.Object) {
	if v, _ := b2b.Text("version"); v == "1" {
		r.shows("S1-202")
		return
	}
	r.violates("S1-202", mistake{
		text:     `version of hl7-b2b is not the string "1"`,
		expected: `"1"`,
		found:    b2b.Show("version"),
	})
}

// readable assesses an optional member that is a readable text.
func (r purpose) readable(row string, b2b jose.Object, member string) {
	if !b2b.Has(member) {
		return
	}
	if s, ok := b2b.Text(member); ok && strings.TrimSpace(s) != "" {
		r.shows(row)
		return
	}
	r.violates(row, mistake{
		text:     member + " is not a readable text",
		expected: "a string",
		found:    b2b.Show(member),
		remedy:   "leave it out, or write the name",
	})
}

func (r purpose) subject(b2b jose.Object) {
	r.readable("S1-203", b2b, "subject_name")
	r.readable("S1-210", b2b, "organization_name")
	named := b2b.Has("subject_name")

	if b2b.Has("subject_id") {
		id, _ := b2b.Text("subject_id")
		switch {
		case !named:
			r.violates("S1-204", mistake{
				text:     "subject_id is there without subject_name",
				expected: "subject_name beside it",
				found:    "no subject_name",
				remedy:   "send both, or neither",
			})
		case !validNPI(id):
			r.violates("S1-205", mistake{
				text:     "subject_id is no National Provider Identifier",
				expected: "ten digits with a right check digit",
				found:    b2b.Show("subject_id"),
				remedy:   "leave subject_id out for persons without an NPI",
			})
		default:
			r.shows("S1-204", "S1-205")
		}
	}

	if !b2b.Has("subject_role") {
		return
	}
	role, ok := b2b.Text("subject_role")
	switch {
	case !named:
		r.violates("S1-208", mistake{
			text:     "subject_role is there without subject_name",
			expected: "subject_name beside it",
			found:    "no subject_name",
			remedy:   "send both, or neither",
		})
	case !ok || role == "":
		r.violates("S1-208", mistake{
			text:     "subject_role is not a code",
			expected: "a code of the NUCC provider taxonomy",
			found:    b2b.Show("subject_role"),
		})
	case len(role) != 10:
		r.warns("S1-208", "subject_role is no code of the NUCC provider taxonomy, from which communities are to choose",
			"send a code such as 207R00000X")
	default:
		r.shows("S1-208")
	}
}

// validNPI reports whether s is a National Provider Identifier: ten digits, the last
// of which is the Luhn digit of 80840 and the others.
func validNPI(s string) bool {
	if len(s) != 10 {
		return false
	}

	const prefix = 24 // Luhn sum of 80840
	sum := prefix
	for i := range s {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n := int(s[i] - '0')
		if i%2 == 0 {
			n *= 2
			n = n/10 + n%10
		}
		sum += n
	}

	return sum%10 == 0
}

func (r purpose) organization(b2b jose.Object) {
	id, ok := b2b.Text("organization_id")
	u, err := url.Parse(id)
	switch {
	case !ok || id == "":
		text := "hl7-b2b has no organization_id"
		switch {
		case !ok && b2b.Has("organization_id"):
			text = "organization_id is " + kindOf(b2b, "organization_id") + ", not a string"
		case ok:
			text = "organization_id is empty"
		}
		r.violates("S1-212", mistake{
			text:     text,
			expected: "a URI",
			found:    b2b.Show("organization_id"),
			remedy:   "name the organization by a URI",
		})
		return
	case err != nil || u.Scheme == "":
		r.violates("S1-212", mistake{
			text:     "organization_id is not a URI",
			expected: "a URI",
			found:    quote(id),
			remedy:   "write an identifier as urn:oid:… or a URL",
		})
		return
	}

	r.shows("S1-212")
	if r.refused("b2b.organization") && r.found("S1-210") == nil {
		r.violates("S1-213", mistake{
			text:     "the community does not allow the scheme of organization_id",
			expected: r.expected("b2b.organization"),
			found:    quote(id),
		})
	} else if !r.refused("b2b.organization") {
		r.shows("S1-213")
	}

	switch {
	case u.Scheme != "https" && u.Scheme != "http":
	case unreachable(u):
		r.violates("S1-214", mistake{
			text:     "organization_id is a URL that others cannot resolve",
			expected: "a public URL",
			found:    quote(id),
		})
	default:
		r.shows("S1-214")
	}
}

// unreachable reports whether the host of a URL is one that only its own network
// knows.
func unreachable(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	for _, end := range []string{"localhost", ".local", ".internal", ".invalid", ".lan"} {
		if host == end || strings.HasPrefix(end, ".") && strings.HasSuffix(host, end) {
			return true
		}
	}
	return host == "" || host == "::1" || strings.HasPrefix(host, "127.")
}

func (r purpose) purposes(b2b jose.Object) {
	list, ok := b2b.List("purpose_of_use")
	switch {
	case !ok || len(list) == 0:
		text := "hl7-b2b has no purpose_of_use"
		if b2b.Has("purpose_of_use") {
			text = notList(b2b, "purpose_of_use")
		}
		r.violates("S1-215", mistake{
			text:     text,
			expected: "an array of one or more codes",
			found:    b2b.Show("purpose_of_use"),
			remedy:   "name the purpose, as an array of codes",
		})
	case r.refused("b2b.purpose_of_use") && r.found("TF-46") != nil: // that row is more exact
	case r.refused("b2b.purpose_of_use"):
		r.violates("S1-215", mistake{
			text:     "the community does not allow the purpose of use",
			expected: r.expected("b2b.purpose_of_use"),
			found:    trace.Cut(strings.Join(list, " "), maxShown),
		})
	case slices.ContainsFunc(list, bareCode) && r.warned("b2b.purpose_of_use"):
		r.warns("S1-215", "purpose_of_use has a bare code, without its code system",
			"write each code as system#code, such as urn:oid:2.16.840.1.113883.5.8#TREAT")
	default:
		r.shows("S1-215")
	}
}

// bareCode reports whether a code has no code system. The guide prefers that it has one,
// and leaves the form to the community (UDAP Security 2.0, 5.2.1.1).
func bareCode(code string) bool {
	return !strings.ContainsAny(code, ":#|/")
}

func (r purpose) consent(b2b jose.Object) {
	if b2b.Has("consent_policy") {
		r.uris(b2b, "consent_policy", "S1-217", false)
	}
	if !b2b.Has("consent_reference") {
		return
	}
	if !b2b.Has("consent_policy") {
		r.violates("S1-221", mistake{
			text:     "consent_reference is there without consent_policy",
			expected: "consent_policy beside it",
			found:    "no consent_policy",
			remedy:   "leave consent_reference out, or name the policy",
		})
		return
	}

	r.shows("S1-221")
	r.uris(b2b, "consent_reference", "S1-218", true)
	list, _ := b2b.List("consent_reference")
	for _, s := range list {
		if u, err := url.Parse(s); err == nil && u.IsAbs() && unreachable(u) && u.Host != "" {
			r.violates("S1-219", mistake{
				text:     "consent_reference has a URL that others cannot resolve",
				expected: "public URLs",
				found:    quote(s),
			})
			return
		}
	}
	if len(list) > 0 {
		r.shows("S1-219")
	}
}

// uris assesses a member that is an array of URIs, or of absolute URLs.
func (r purpose) uris(b2b jose.Object, member, row string, absolute bool) {
	expected := "an array of URIs"
	if absolute {
		expected = "an array of absolute URLs"
	}

	list, ok := b2b.List(member)
	for _, s := range list {
		u, err := url.Parse(s)
		ok = ok && err == nil && u.Scheme != "" && (!absolute || u.Host != "")
	}
	if ok && len(list) > 0 {
		r.shows(row)
		return
	}
	r.violates(row, mistake{
		text:     member + " is not " + expected,
		expected: expected,
		found:    b2b.Show(member),
	})
}
