package hint

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// queryRules recognise slips in the query.
var queryRules = []rule{
	{"community-misspelt", communityMisspelt, true},
	{"community-empty", communityEmpty, true},
	{"community-twice", communityTwice, true},
	{"community-quoted", communityQuoted, true},
	{"community-encoded-twice", communityEncodedTwice, true},
	{"community-nearly-ours", communityNearlyOurs, true},
	{"community-not-a-uri", communityNoURI, true},
	{"ampersand-as-html", htmlAmpersand, true},
	{"question-mark-twice", secondQuestionMark, true},
	{"parameters-in-url", parametersInURL, true},
}

const communityRemedy = "send ?community= with the community's URI, percent-encoded, or leave it out"

// communities returns the values of community in a query for metadata.
func (h *hit) communities() []string {
	if h.known != metadata {
		return nil
	}

	var out []string
	for _, p := range parameters(h.query) {
		if p.name == "community" {
			out = append(out, p.value)
		}
	}

	return out
}

func communityMisspelt(h *hit) (conform.Finding, bool) {
	if h.known != metadata || h.query == "" || len(h.communities()) > 0 {
		return no()
	}

	for _, p := range parameters(h.query) {
		near, ok := nearest(p.name, []string{"community"})
		if ok || strings.Contains(strings.ToLower(p.name), "commun") || p.name == "trust" {
			near = "community"
		}
		if near != "" {
			return yes("The query has "+quoted(p.name)+" where community belongs, so the default metadata was sent.",
				h.query, communityRemedy)
		}
	}

	return no()
}

func communityEmpty(h *hit) (conform.Finding, bool) {
	if values := h.communities(); len(values) != 1 || strings.TrimSpace(values[0]) != "" {
		return no()
	}
	return yes("The query has community without a value.", h.query, communityRemedy)
}

func communityTwice(h *hit) (conform.Finding, bool) {
	if len(h.communities()) < 2 {
		return no()
	}
	return yes("The query has community more than once.", h.query, "ask for each community by a request of its own")
}

func (h *hit) community() string {
	if values := h.communities(); len(values) == 1 {
		return values[0]
	}
	return ""
}

// ours returns one of the communities by its URI.
func (h *hit) ours(uri string) bool {
	return slices.Contains(h.place.Communities, trace.CommunityURI(uri))
}

func communityQuoted(h *hit) (conform.Finding, bool) {
	c := h.community()
	plain := strings.Trim(c, "\"'<>[] \t\r\n/")
	if plain == c || plain == "" || !h.ours(plain) {
		return no()
	}
	return yes("The community's URI has quotes, brackets, spaces or a slash around it.", c, "send "+plain)
}

func communityEncodedTwice(h *hit) (conform.Finding, bool) {
	c := h.community()
	plain := unescaped(c)
	if plain == c || !h.ours(plain) {
		return no()
	}
	return yes("The community's URI is percent-encoded twice.", c, "encode it once")
}

func communityNearlyOurs(h *hit) (conform.Finding, bool) {
	c := h.community()
	if c == "" || h.ours(c) {
		return no()
	}

	for _, ours := range h.place.Communities {
		uri := string(ours)
		cut := strings.HasPrefix(uri, c) || strings.HasPrefix(c, uri) || strings.HasSuffix(uri, c)
		if cut || strings.EqualFold(uri, c) || len(uri) > 8 && distance(uri, c, 3) < 3 {
			return yes("The query names a community that is nearly, and not quite, one of this server's.", c,
				"send "+uri+"; URIs are compared letter by letter")
		}
	}

	return no()
}

func communityNoURI(h *hit) (conform.Finding, bool) {
	c := h.community()
	if u, err := url.Parse(c); c == "" || err == nil && u.Scheme != "" {
		return no()
	}
	return yes("The value of community is no URI: it has no scheme, or a space in it.", c, communityRemedy)
}

func htmlAmpersand(h *hit) (conform.Finding, bool) {
	if !strings.Contains(h.query, "&amp;") {
		return no()
	}
	return yes("The query has &amp; where & belongs: it was copied out of HTML.", h.query, "write & alone")
}

func secondQuestionMark(h *hit) (conform.Finding, bool) {
	_, after, ok := strings.Cut(h.query, "?")
	if !ok || !strings.Contains(after, "=") || !h.failed() && h.known != metadata {
		return no()
	}
	return yes("The query has a second question mark, so what follows it is part of a value.", h.query,
		"separate parameters by &")
}

func parametersInURL(h *hit) (conform.Finding, bool) {
	if h.query == "" || !h.wantsForm() && h.known != register {
		return no()
	}
	return yes(fmt.Sprintf("Parameters are in the URL of %s, where logs keep them.", h.known), names(h.query),
		"send them in the body (RFC 6749 3.2)")
}

// names returns the names of a query's parameters; their values may be secret.
func names(query string) string {
	var out []string
	for _, p := range parameters(query) {
		out = append(out, p.name)
	}
	return strings.Join(out, ", ")
}

// methodRules recognise a method that the URL does not have.
var methodRules = []rule{
	{"method-in-small-letters", smallMethod, true},
	{"get-for-post", getForPost, true},
	{"put-for-register", putForRegister, true},
	{"delete-for-register", deleteForRegister, true},
	{"post-for-get", postForGet, true},
	{"preflight", preflight, true},
	{"search-by-post", searchByPost, true},
}

func smallMethod(h *hit) (conform.Finding, bool) {
	if h.e.Method == strings.ToUpper(h.e.Method) {
		return no()
	}
	return yes("The method is written in small letters; methods are case-sensitive.", h.e.Method,
		"write "+strings.ToUpper(h.e.Method))
}

func getForPost(h *hit) (conform.Finding, bool) {
	if h.e.Method != "GET" && h.e.Method != "HEAD" || !h.wantsForm() && h.known != register {
		return no()
	}
	return yes(fmt.Sprintf("A %s came to %s, which has POST alone.", h.e.Method, h.known), h.e.Method,
		"send a POST; a library that follows a redirect may have made a GET of it")
}

func putForRegister(h *hit) (conform.Finding, bool) {
	if h.known != register || h.e.Method != "PUT" && h.e.Method != "PATCH" {
		return no()
	}
	return yes("A "+h.e.Method+" came to the registration endpoint.", h.e.Method,
		"change a registration by a POST of a whole new software statement with the same iss (UDAP DCR 6)")
}

func deleteForRegister(h *hit) (conform.Finding, bool) {
	if !strings.HasPrefix(h.path, h.issuer+"/register") || h.e.Method != "DELETE" {
		return no()
	}
	return yes("A DELETE came to the registration endpoint.", h.e.Method,
		`cancel by a POST of a software statement with "grant_types": [] (UDAP DCR 6)`)
}

func postForGet(h *hit) (conform.Finding, bool) {
	reads := h.known == metadata || h.known == documents || h.path == h.issuer+"/jwks" || h.path == h.base+"/metadata"
	if !reads || slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, h.e.Method) {
		return no()
	}
	return yes(fmt.Sprintf("A %s came to a document that has GET alone.", quoted(h.e.Method)), h.e.Method, "send a GET")
}

func preflight(h *hit) (conform.Finding, bool) {
	origin := h.one("Origin")
	if h.e.Method != "OPTIONS" || origin == "" || !h.failed() {
		return no()
	}
	return yes("A browser asked whether a page of another origin may do this (CORS), and it may not.", origin,
		"make the request from a server, or have the operator list the origin under cors:")
}

func searchByPost(h *hit) (conform.Finding, bool) {
	isForm := strings.HasPrefix(h.one("Content-Type"), formType)
	if h.e.Method != "POST" || h.known != record || !isForm || strings.HasSuffix(h.path, "/_search") {
		return no()
	}
	return yes("A form came to a type of resource: a search by POST lacks /_search.", h.path,
		"post it to "+h.short(h.path)+"/_search")
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// headRules recognise slips in the header fields.
var headRules = []rule{
	{"host-differs", hostDiffers, false},
	{"plain-http", plainHTTP, false},
	{"form-as-json", formAsJSON, true},
	{"json-as-form", jsonAsForm, true},
	{"content-type-missing", noContentType, true},
	{"content-type-twice", twoContentTypes, true},
	{"content-type-other", otherContentType, true},
	{"body-compressed", compressed, true},
	{"secret-in-authorization", basic, true},
	{"bearer-at-endpoint", bearerAtEndpoint, true},
	{"bearer-missing", noBearer, true},
	{"bearer-twice", bearerTwice, true},
	{"bearer-placeholder", bearerPlaceholder, true},
}

func hostDiffers(h *hit) (conform.Finding, bool) {
	u, err := url.Parse(h.place.Base)
	host := h.one("Host")
	if err != nil || host == "" || host == u.Host || h.one("X-Forwarded-Host") == u.Host {
		return no()
	}

	how := "is another one than that of the base URL"
	switch name, _, _ := strings.Cut(host, ":"); {
	case strings.EqualFold(host, u.Host):
		how = "is written in other letters"
	case strings.EqualFold(name, u.Hostname()):
		how = "has another port than the base URL, or none"
	}

	if !h.failed() && !strings.HasPrefix(how, "has") {
		return no() // a gateway reaches this server under a name of its own
	}

	f, ok := yes("The request's Host "+how+".", host, "ask for "+u.Host)
	f.Expected = u.Host
	return f, ok
}

func plainHTTP(h *hit) (conform.Finding, bool) {
	forwarded := strings.EqualFold(h.one("X-Forwarded-Proto"), "http")
	if !forwarded && !strings.HasPrefix(strings.ToLower(h.e.Target), "http://") {
		return no()
	}
	return yes("The request came by http where https belongs.", trace.Cut(h.e.Target, 60), "write https://")
}

// mediaType returns the type of the body without parameters, in small letters.
func (h *hit) mediaType() string {
	name, _, _ := strings.Cut(h.one("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(name))
}

func formAsJSON(h *hit) (conform.Finding, bool) {
	looks := strings.HasPrefix(strings.TrimSpace(string(h.body)), "{")
	if !h.wantsForm() || h.e.Method != "POST" || !looks && !strings.Contains(h.mediaType(), "json") {
		return no()
	}
	return yes(fmt.Sprintf("JSON was posted to %s, which reads a form.", h.known), h.one("Content-Type"),
		"send "+formType+", as grant_type=…&scope=… (RFC 6749 4.4.2)")
}

func jsonAsForm(h *hit) (conform.Finding, bool) {
	looks := strings.HasPrefix(string(h.body), "software_statement=")
	if h.known != register || h.e.Method != "POST" || !looks && h.mediaType() != formType {
		return no()
	}
	return yes("A form was posted to the registration endpoint, which reads JSON.", h.one("Content-Type"),
		"send "+jsonType+` with {"software_statement": "…", "udap": "1"} (UDAP DCR 3)`)
}

// wanted returns the media type that the endpoint reads; empty: several or none.
func (h *hit) wanted() string {
	switch {
	case h.e.Method != "POST":
	case h.wantsForm():
		return formType
	case h.known == register:
		return jsonType
	}
	return ""
}

func noContentType(h *hit) (conform.Finding, bool) {
	if h.wanted() == "" || len(h.field("Content-Type")) > 0 {
		return no()
	}
	return yes("The request has no Content-Type.", "none", "send Content-Type: "+h.wanted())
}

func twoContentTypes(h *hit) (conform.Finding, bool) {
	values := h.field("Content-Type")
	if len(values) < 2 {
		return no()
	}
	return yes("The request has Content-Type more than once.", strings.Join(values, " and "), "send one")
}

func otherContentType(h *hit) (conform.Finding, bool) {
	want := h.wanted()
	if want == "" || h.mediaType() == want || h.mediaType() == "" {
		return no()
	}

	how := "has the media type " + quoted(h.mediaType())
	if strings.HasPrefix(h.mediaType(), "multipart/") {
		how = "is a multipart form, as for files"
	}
	return yes("The body "+how+"; the endpoint reads "+want+".", h.one("Content-Type"), "send Content-Type: "+want)
}

func compressed(h *hit) (conform.Finding, bool) {
	zipped := strings.HasPrefix(string(h.body), "\x1f\x8b")
	coding := h.one("Content-Encoding")
	if !zipped && (coding == "" || coding == "identity") {
		return no()
	}
	return yes("The body is compressed, which is not accepted here.", "Content-Encoding: "+coding, "send it as it is")
}

// credentials returns the scheme and the first characters of what follows it.
func (h *hit) credentials() (scheme, rest string, ok bool) {
	value := h.one("Authorization")
	scheme, rest, _ = strings.Cut(value, " ")
	return scheme, rest, value != ""
}

func basic(h *hit) (conform.Finding, bool) {
	scheme, _, ok := h.credentials()
	if !ok || !h.wantsForm() && h.known != register || !strings.EqualFold(scheme, "Basic") {
		return no()
	}
	return yes("A client secret came in an Authorization header (Basic).", "Basic …",
		"authenticate by client_assertion alone, signed with the certificate's key (UDAP Security 2.0, 4.2)")
}

func bearerAtEndpoint(h *hit) (conform.Finding, bool) {
	scheme, _, ok := h.credentials()
	if !ok || !h.wantsForm() && h.known != register || strings.EqualFold(scheme, "Basic") {
		return no()
	}
	return yes(fmt.Sprintf("An Authorization header came to %s.", h.known), quoted(scheme)+" …",
		"leave it out: the signed JWT is the only credential here")
}

// isRecords reports whether the request is for records.
func (h *hit) isRecords() bool { return h.known == record || h.known == records }

func noBearer(h *hit) (conform.Finding, bool) {
	scheme, rest, ok := h.credentials()
	known := strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")
	if !ok || !h.isRecords() || known && rest != "" || !h.failed() {
		return no()
	}

	how := "has no scheme"
	switch {
	case known:
		how = "has a scheme and no token"
	case strings.EqualFold(strings.TrimRight(scheme, ":="), "bearer"):
		how = "has : or = after Bearer"
	case rest != "":
		how = "has a scheme that is not known here"
	}

	return yes("The Authorization header "+how+".", trace.Cut(scheme, 8),
		"write Authorization: Bearer, a space and the token")
}

func bearerTwice(h *hit) (conform.Finding, bool) {
	_, rest, ok := h.credentials()
	if !ok || !h.isRecords() || !strings.HasPrefix(strings.ToLower(rest), "bear") || !h.failed() {
		return no()
	}
	return yes("The Authorization header has Bearer twice.", "Bearer Bearer …", "write it once")
}

func bearerPlaceholder(h *hit) (conform.Finding, bool) {
	_, rest, ok := h.credentials()
	if !ok || !h.isRecords() || !h.failed() {
		return no()
	}

	if rest == "…" { // all that is kept of what is too short to be a token
		return yes("The text after the scheme of the Authorization header is too short for a token.", rest,
			"send the value of access_token; a variable may be empty or undefined")
	}
	for _, start := range []string{"unde", "null", "None", `"`, "'", "{", "<", "$", "[obj"} {
		if strings.HasPrefix(rest, start) {
			return yes("The token in the Authorization header is a placeholder, a quoted text or a whole answer.",
				trace.Cut(rest, 4), "send the value of access_token alone")
		}
	}

	return no()
}
