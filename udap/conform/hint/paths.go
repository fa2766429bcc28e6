package hint

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"fhirdest.example/udap/conform"
)

// pathRules recognise paths that are nearly one of ours. The first that fits is the
// answer.
var pathRules = slices.Concat(
	[]rule{{"another-session", anotherSession, true}},
	miswritten,
	misplaced,
)

// miswritten recognise paths that are one of ours, written otherwise.
var miswritten = []rule{
	{"placeholder", placeholder, true},
	{"url-in-path", urlInPath, true},
	{"well-known-twice", wellKnownTwice, true},
	{"base-twice", baseTwice, true},
	{"question-mark-encoded", encodedQuestionMark, true},
	{"ampersand-for-question-mark", ampersand, true},
	{"fragment-in-path", fragment, true},
	mended("space-in-path", "has a space or an invisible character in it", withoutSpace),
	mended("pasted-punctuation", "has a quote, bracket or stop that was pasted along", withoutPunctuation),
	mended("semicolon-in-path", "has a parameter after a semicolon", withoutSemicolon),
	mended("backslash-in-path", "has a backslash where a slash belongs", withoutBackslash),
	mended("slash-encoded", "has a slash written as %2F", withoutEncodedSlash),
	mended("letters-encoded", "has plain letters percent-encoded", decodedLetters),
	mended("dot-segments", "has . or .. in it, which is not resolved", withoutDots),
	mended("slash-doubled", "has two slashes next to one another", withoutDoubledSlash),
	mended("slash-at-end", "has a slash at its end", withoutSlash),
	mended("file-extension", "has a file extension at its end", withoutExtension),
	{"case-of-path", caseOfPath, true},
}

// Miswritten reports whether the check of a hint is about a URL of the destination that
// the client has not written as the destination has it.
func Miswritten(check string) bool {
	return slices.ContainsFunc(miswritten, func(r rule) bool { return "hint."+r.name == check })
}

// misplaced recognise paths of documents, endpoints and resources at another place.
var misplaced = []rule{
	{"well-known-before-path", wellKnownInserted, true},
	{"well-known-at-issuer", wellKnownAtIssuer, true},
	{"well-known-without-fhir", wellKnownWithoutFHIR, true},
	{"well-known-of-issuer-at-base", documentOfIssuerAtBase, true},
	{"well-known-misspelt", wellKnownMisspelt, true},
	{"endpoint-below-base", endpointBelowBase, true},
	{"endpoint-misspelt", endpointMisspelt, true},
	{"fhir-missing", fhirMissing, true},
	{"records-at-issuer", recordsAtIssuer, true},
	{"version-in-path", versionInPath, true},
	{"capability-statement", capabilityStatement, true},
	{"operation-without-dollar", operationWithoutDollar, true},
	{"resource-type-misspelt", typeMisspelt, true},
	{"root-of-session", rootOfSession, true},
}

// wrote is the first sentence of a hint at a path.
func (h *hit) wrote(how, right string) (conform.Finding, bool) {
	f, ok := yes(
		fmt.Sprintf("One request was for %s: the path %s.", h.short(h.path), how),
		h.path,
		"ask for "+h.short(right),
	)
	f.Expected = right
	return f, ok
}

// mended makes the rule for paths that are right once a change has been undone.
func mended(name, how string, undo func(string) string) rule {
	find := func(h *hit) (conform.Finding, bool) {
		right := undo(h.path)
		if h.known != "" || right == h.path {
			return no()
		}
		if h.endpoint(right) == "" && h.endpoint(strings.TrimRight(right, "/")) == "" {
			return no()
		}

		return h.wrote(how, strings.TrimRight(right, "/"))
	}
	return rule{name, find, true}
}

// spaces are what is seen as a space, or not at all, as it is written in paths.
var spaces = regexp.MustCompile(`(?i)(%20|%09|%0a|%0d|%c2%a0|%e2%80%8[b-f]|%ef%bb%bf|%e2%81%a0|\+|\s)+`)

func withoutSpace(path string) string { return spaces.ReplaceAllString(path, "") }

var punctuation = regexp.MustCompile(`(?i)(%22|%27|%3c|%3e|%5d|%5b|%60|%2c|%e2%80%9[cd]|["'<>,;.)\]` + "`" + `])+$`)

func withoutPunctuation(path string) string { return punctuation.ReplaceAllString(path, "") }

func withoutSemicolon(path string) string {
	before, _, _ := strings.Cut(path, ";")
	return before
}

var backslash = regexp.MustCompile(`(?i)%5c|\\`)

func withoutBackslash(path string) string { return backslash.ReplaceAllString(path, "/") }

var encodedSlash = regexp.MustCompile(`(?i)%2f`)

func withoutEncodedSlash(path string) string { return encodedSlash.ReplaceAllString(path, "/") }

var encodedLetter = regexp.MustCompile(`(?i)%(2d|2e|5f|7e|3[0-9]|[46][1-9a-f]|[57][0-9a])`)

func decodedLetters(path string) string {
	return encodedLetter.ReplaceAllStringFunc(path, unescaped)
}

func withoutDots(path string) string {
	if !slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool {
		plain := strings.ToLower(s)
		plain = strings.ReplaceAll(plain, "%2e", ".")
		return plain == "." || plain == ".."
	}) {
		return path
	}

	out, err := url.JoinPath("https://x", unescaped(path))
	if err != nil {
		return path
	}
	return strings.TrimPrefix(out, "https://x")
}

var slashes = regexp.MustCompile(`//+`)

func withoutDoubledSlash(path string) string { return slashes.ReplaceAllString(path, "/") }

func withoutSlash(path string) string { return strings.TrimRight(path, "/") }

var extension = regexp.MustCompile(`\.(json|xml|html?|php|aspx?|jsp|txt)$`)

func withoutExtension(path string) string { return extension.ReplaceAllString(path, "") }

var sessionID = regexp.MustCompile(`/lab/([0-9A-Za-z_-]{8,64})(/|$)`)

// anotherSession recognises the URL of another session than this one.
func anotherSession(h *hit) (conform.Finding, bool) {
	own := sessionID.FindStringSubmatch(h.base)
	asked := sessionID.FindStringSubmatch(h.path)
	if own == nil || asked == nil || own[1] == asked[1] {
		return no()
	}

	how := "names another session than this one"
	switch {
	case strings.EqualFold(own[1], asked[1]):
		how = "has the session's identifier in another case"
	case strings.HasPrefix(own[1], asked[1]) || strings.HasPrefix(asked[1], own[1]):
		how = "has the session's identifier cut off, or with something behind it"
	}

	return h.wrote(how, h.base)
}

var placeholders = regexp.MustCompile(
	`(?i)(\{[^/]*\}|%7b[^/]*%7d|%24%7b|\$\{|/:[a-z]+(/|$)|<[^/]*>|%3c[^/]*%3e|/(undefined|null|nil|none|nan)(/|$)` +
		`|\[object|%5bobject)`)

// placeholder recognises a template or an empty variable that was sent as it is.
func placeholder(h *hit) (conform.Finding, bool) {
	found := placeholders.FindString(h.path)
	if found == "" {
		return no()
	}
	return h.wrote("has "+quoted(unescaped(found))+" in it, which a program should have replaced", h.base)
}

func urlInPath(h *hit) (conform.Finding, bool) {
	plain := unescaped(h.path)
	i := max(strings.Index(plain, "https:/"), strings.Index(plain, "http:/"))
	if i < 0 {
		return no()
	}
	return h.wrote("has a whole URL in it: one was joined to another", h.base)
}

// wellKnown is what a client adds to the base URL.
const wellKnown = "/.well-known/"

func wellKnownTwice(h *hit) (conform.Finding, bool) {
	if strings.Count(h.path, wellKnown) < 2 {
		return no()
	}
	return h.wrote("has /.well-known/ twice: the URL of the metadata was used as the base URL", h.base+wellKnown+"udap")
}

func baseTwice(h *hit) (conform.Finding, bool) {
	for _, twice := range []string{h.base + h.base, h.base + h.issuer, h.issuer + h.issuer, h.issuer + h.base} {
		if strings.HasPrefix(h.path, twice) {
			return h.wrote("has the path of a URL twice", h.path[strings.LastIndex(h.path, h.site):])
		}
	}

	for _, twice := range []string{"/fhir/fhir", "/oauth/oauth"} {
		if rest, ok := strings.CutPrefix(h.path, h.site+twice); ok {
			return h.wrote("has "+twice[:len(twice)/2]+" twice", h.site+twice[:len(twice)/2]+rest)
		}
	}

	return no()
}

var encodedQuery = regexp.MustCompile(`(?i)%3f`)

func encodedQuestionMark(h *hit) (conform.Finding, bool) {
	at := encodedQuery.FindStringIndex(h.path)
	if at == nil || h.endpoint(h.path[:at[0]]) == "" {
		return no()
	}
	return h.wrote("has its question mark written as %3F, so that the query is part of it",
		h.path[:at[0]]+"?"+h.path[at[1]:])
}

func ampersand(h *hit) (conform.Finding, bool) {
	before, after, ok := strings.Cut(h.path, "&")
	if !ok || h.endpoint(before) == "" {
		return no()
	}
	return h.wrote("has & where the question mark belongs", before+"?"+after)
}

func fragment(h *hit) (conform.Finding, bool) {
	for _, mark := range []string{"%23", "#"} {
		if before, _, ok := strings.Cut(h.path, mark); ok && h.endpoint(before) != "" {
			return h.wrote("has a fragment, which is never sent to a server", before)
		}
	}
	return no()
}

// caseOfPath recognises a path of ours in other letters.
func caseOfPath(h *hit) (conform.Finding, bool) {
	if h.known != "" {
		return no()
	}

	for _, right := range h.all() {
		if strings.EqualFold(right, h.path) {
			return h.wrote("is written in other letters; paths are case-sensitive", right)
		}
	}

	if len(h.path) > len(h.base) && strings.EqualFold(h.path[:len(h.base)], h.base) && h.path[:len(h.base)] != h.base {
		return h.wrote("is written in other letters; paths are case-sensitive", h.base+h.path[len(h.base):])
	}
	return no()
}

// all returns the paths of every endpoint.
func (h *hit) all() []string {
	return []string{
		h.base,
		h.base + "/metadata",
		h.base + "/.well-known/udap",
		h.base + "/.well-known/smart-configuration",
		h.issuer + "/register",
		h.issuer + "/authorize",
		h.issuer + "/token",
		h.issuer + "/introspect",
		h.issuer + "/revoke",
		h.issuer + "/jwks",
		h.issuer + "/userinfo",
	}
}

// wellKnownInserted recognises the rule of RFC 8414, which UDAP does not have.
func wellKnownInserted(h *hit) (conform.Finding, bool) {
	for _, document := range []string{"udap", "smart-configuration"} {
		if strings.HasPrefix(h.path, wellKnown+document) {
			return h.wrote("has /.well-known/ before the base URL's path, as RFC 8414 does; here it comes after it",
				h.base+wellKnown+document)
		}
	}
	return no()
}

func wellKnownAtIssuer(h *hit) (conform.Finding, bool) {
	document, ok := strings.CutPrefix(h.path, h.issuer+wellKnown)
	switch {
	case !ok || h.known != "":
		return no()
	case document == "oauth-authorization-server":
		return h.wrote("has the well-known part after the issuer; RFC 8414 puts it before the issuer's path",
			wellKnown+document+h.issuer)
	case document == "udap" || document == "smart-configuration":
		return h.wrote("is at the issuer; this document is at the FHIR base URL", h.base+wellKnown+document)
	}

	return no()
}

func wellKnownWithoutFHIR(h *hit) (conform.Finding, bool) {
	document, ok := strings.CutPrefix(h.path, h.site+wellKnown)
	if !ok {
		return no()
	}
	return h.wrote("lacks /fhir: the metadata is below the FHIR base URL", h.base+wellKnown+document)
}

func documentOfIssuerAtBase(h *hit) (conform.Finding, bool) {
	switch h.path {
	case h.base + wellKnown + "openid-configuration":
		return h.wrote("is at the FHIR base URL; this document is at the issuer",
			h.issuer+wellKnown+"openid-configuration")
	case h.base + wellKnown + "oauth-authorization-server":
		return h.wrote("is at the FHIR base URL; this document is the issuer's",
			wellKnown+"oauth-authorization-server"+h.issuer)
	}
	return no()
}

var nearWellKnown = regexp.MustCompile(`(?i)^/\.?(well|wel)[-_.]?(known|konwn|know|knwon)[-_]?/?(.*)$`)

func wellKnownMisspelt(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.base)
	if !ok || h.known != "" {
		return no()
	}

	m := nearWellKnown.FindStringSubmatch(rest)
	if m == nil {
		return no()
	}

	document := "udap"
	if strings.Contains(strings.ToLower(m[3]), "smart") {
		document = "smart-configuration"
	}
	return h.wrote("has a well-known part that is written otherwise", h.base+wellKnown+document)
}

func endpointBelowBase(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.base+"/")
	if !ok {
		return no()
	}

	rest = strings.TrimPrefix(strings.Trim(rest, "/"), "oauth/")
	rest = strings.TrimPrefix(rest, "oauth2/")
	if h.endpoint(h.issuer+"/"+rest) == "" {
		return no()
	}

	return h.wrote("is below the FHIR base URL; the authorization server is beside it", h.issuer+"/"+rest)
}

// otherNames are what other servers call our endpoints.
var otherNames = map[string]string{
	"registration": "register",
	"dcr":          "register",
	"clients":      "register",
	"tokens":       "token",
	"auth":         "authorize",
	"login":        "authorize",
	"authorise":    "authorize",
	"certs":        "jwks",
	"keys":         "jwks",
	"jwks.json":    "jwks",
	"revocation":   "revoke",
	"introspector": "introspect",
}

// endpointMisspelt recognises an endpoint under another name or below another
// directory: /auth/token, /oauth2/token, /oauth/connect/token.
func endpointMisspelt(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.site+"/")
	if !ok || h.known != "" || strings.HasPrefix(h.path, h.base+"/") {
		return no()
	}

	rest = strings.TrimRight(rest, "/")
	last := strings.ToLower(rest[strings.LastIndexByte(rest, '/')+1:])
	names := []string{"register", "authorize", "token", "introspect", "revoke", "jwks", "userinfo"}
	right := otherNames[last]
	if slices.Contains(names, last) {
		right = last
	}
	if right == "" {
		right, _ = nearest(last, names)
	}
	if right == "" {
		return no()
	}

	return h.wrote("is not that of an endpoint here; the metadata has the URL of each", h.issuer+"/"+right)
}

func fhirMissing(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.site+"/")
	if !ok || !isFHIR(rest) {
		return no()
	}
	return h.wrote("lacks /fhir", h.base+"/"+rest)
}

func recordsAtIssuer(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.issuer+"/")
	if !ok || !isFHIR(rest) {
		return no()
	}
	return h.wrote("is below the authorization server; records are below the FHIR base URL", h.base+"/"+rest)
}

var version = regexp.MustCompile(`(?i)^/(r[2-6]b?|stu[23]|dstu2|v?4(\.0(\.1)?)?|4_0_[01]|baser4|v1)(/.*)?$`)

func versionInPath(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.base)
	if !ok {
		return no()
	}
	m := version.FindStringSubmatch(rest)
	if m == nil {
		return no()
	}
	return h.wrote("has a version of FHIR in it; there is one version here, and no name for it", h.base+m[4])
}

func capabilityStatement(h *hit) (conform.Finding, bool) {
	for _, name := range []string{"/conformance", "/capabilitystatement", "/capability", "/capabilities"} {
		if strings.EqualFold(h.path, h.base+name) && h.failed() {
			return h.wrote("is not where the CapabilityStatement is", h.base+"/metadata")
		}
	}
	return no()
}

var operations = []string{
	"export", "import", "match", "everything", "validate", "sign", "disclosures",
}

func operationWithoutDollar(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.base+"/")
	i := strings.LastIndexByte(rest, '/') + 1
	last := strings.ToLower(strings.TrimLeft(rest[i:], "$_"))
	if !ok || rest[i:] == "$"+last || !slices.Contains(operations, last) || !h.failed() {
		return no()
	}
	return h.wrote("names an operation without $, or in other letters", h.base+"/"+rest[:i]+"$"+last)
}

func typeMisspelt(h *hit) (conform.Finding, bool) {
	rest, ok := strings.CutPrefix(h.path, h.base+"/")
	if !ok || h.known != "" {
		return no()
	}

	first, more, _ := strings.Cut(rest, "/")
	right, found := nearest(first, types)
	if !found {
		if right, found = nearest(strings.TrimSuffix(first, "s"), types); !found {
			right = strings.TrimSuffix(first, "s")
			found = right != first && slices.Contains(types, right)
		}
	}

	if !found {
		return no()
	}

	if more != "" {
		more = "/" + more
	}
	return h.wrote("has "+quoted(first)+" where a type of resource belongs", h.base+"/"+right+more)
}

// rootOfSession recognises the address of the page about a session, used as a base URL.
func rootOfSession(h *hit) (conform.Finding, bool) {
	root := strings.TrimRight(h.path, "/") == h.site || strings.TrimRight(h.path, "/") == h.issuer
	if !root || h.known != "" || !h.failed() {
		return no()
	}
	return h.wrote("is not the FHIR base URL", h.base)
}
