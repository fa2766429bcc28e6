package hint

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
)

// bodyRules recognise why JSON cannot be read, or has not the members that it must
// have. The first that fits is the answer.
var bodyRules = []rule{
	{"body-empty", emptyBody, true},
	{"json-byte-order-mark", byteOrderMark, true},
	{"json-in-utf16", utf16, true},
	{"body-is-jwt", bareJWT, true},
	{"body-is-pem", pem, true},
	{"json-in-base64", base64JSON, true},
	{"json-as-string", jsonAsString, true},
	{"json-array", jsonArray, true},
	{"json-two-values", twoValues, true},
	{"json-member-twice", memberTwice, true},
	{"json-curly-quotes", curlyQuotes, true},
	{"json-comment", comment, true},
	{"json-trailing-comma", trailingComma, true},
	{"json-of-python", pythonWords, true},
	{"json-single-quotes", singleQuotes, true},
	{"json-names-unquoted", unquotedNames, true},
	{"json-line-break-in-string", lineBreakInString, true},
	{"json-not-utf8", notUTF8, true},
	{"json-cut-off", cutOff, true},
	{"json-broken", broken, true},
	{"register-member-misspelt", memberMisspelt, true},
	{"register-parameters-unsigned", unsignedParameters, true},
	{"register-statement-as-object", statementAsObject, true},
	{"register-udap-as-number", udapAsNumber, true},
}

// text returns the body where JSON is wanted; empty: it is not.
func (h *hit) text() string {
	if !h.wantsJSON() || h.mediaType() == formType || h.e.Method == "GET" || h.e.Method == "HEAD" {
		return ""
	}
	return string(h.body)
}

func emptyBody(h *hit) (conform.Finding, bool) {
	if h.wanted() == "" || strings.TrimSpace(string(h.body)) != "" {
		return no()
	}
	return yes(fmt.Sprintf("The POST to %s has no body.", h.known), "0 bytes",
		"send the parameters in the body; a redirect or a missing Content-Length may have lost it")
}

func byteOrderMark(h *hit) (conform.Finding, bool) {
	if !strings.HasPrefix(h.text(), "\ufeff") {
		return no()
	}
	return yes("The JSON begins with a byte order mark (EF BB BF).", "U+FEFF",
		"write UTF-8 without a mark (RFC 8259 8.1)")
}

func utf16(h *hit) (conform.Finding, bool) {
	text := h.text()
	marked := strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff")
	if !marked && !strings.HasPrefix(text, "{\x00") && !strings.HasPrefix(text, "\x00{") {
		return no()
	}
	return yes("The JSON is in UTF-16.", "two bytes a character", "write UTF-8 (RFC 8259 8.1)")
}

var compact = regexp.MustCompile(`^"?eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"?\s*$`)

func bareJWT(h *hit) (conform.Finding, bool) {
	if !compact.MatchString(h.text()) {
		return no()
	}
	return yes("The body is a JWT alone.", h.text()[:20],
		`put it into an object: {"software_statement": "…", "udap": "1"} (UDAP DCR 3)`)
}

func pem(h *hit) (conform.Finding, bool) {
	if !strings.HasPrefix(strings.TrimSpace(h.text()), "-----BEGIN") {
		return no()
	}
	return yes("The body is PEM.", h.text()[:20], "certificates go into the header x5c of the JWT, as base64 of DER")
}

func base64JSON(h *hit) (conform.Finding, bool) {
	text := strings.TrimSpace(h.text())
	if !strings.HasPrefix(text, "eyJ") && !strings.HasPrefix(text, "ewo") || strings.Contains(text, ".") {
		return no()
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || !bytes.HasPrefix(decoded, []byte("{")) {
		return no()
	}
	return yes("The body is base64 of JSON.", text, "send the JSON itself")
}

func jsonAsString(h *hit) (conform.Finding, bool) {
	text := strings.TrimSpace(h.text())
	inner, ok := jose.Text(jsontext.Value(text))
	if !jsontext.Value(text).IsValid() || !ok || !strings.HasPrefix(strings.TrimSpace(inner), "{") {
		return no()
	}
	return yes("The body is a string that has JSON in it: it was encoded twice.", text, "encode the object once")
}

func jsonArray(h *hit) (conform.Finding, bool) {
	text := strings.TrimSpace(h.text())
	if !strings.HasPrefix(text, "[") || !jsontext.Value(text).IsValid() {
		return no()
	}
	return yes("The body is a JSON array.", text, "send one object")
}

// fault returns why a body is no JSON; nil: it is, or is not meant to be.
func (h *hit) fault() error {
	if !h.decoded {
		h.decoded, h.wrong = true, h.decode()
	}
	return h.wrong
}

func (h *hit) decode() error {
	text := h.text()
	if strings.TrimSpace(text) == "" || h.e.Request.Length > int64(len(h.body)) {
		return nil // there is none, or the rest of it was not kept
	}
	d := jsontext.NewDecoder(strings.NewReader(text))
	_, err := d.ReadValue()
	return err
}

func twoValues(h *hit) (conform.Finding, bool) {
	text := h.text()
	if h.fault() != nil || strings.TrimSpace(text) == "" {
		return no()
	}

	d := jsontext.NewDecoder(strings.NewReader(text))
	_, _ = d.ReadValue() // fault has read it, or only a part of it was kept
	rest := strings.TrimSpace(text[min(int(d.InputOffset()), len(text)):])
	if rest == "" || h.e.Request.Length > int64(len(h.body)) {
		return no()
	}

	return yes("Something follows the JSON object.", rest, "send one object, and nothing behind it")
}

func memberTwice(h *hit) (conform.Finding, bool) {
	err := h.fault()
	if !errors.Is(err, jsontext.ErrDuplicateName) {
		return no()
	}

	name := ""
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		name = syntax.JSONPointer.LastToken()
	}

	return yes("A JSON object has the member "+quoted(name)+" twice.", name,
		"two readers could each read another of them: send it once")
}

func curlyQuotes(h *hit) (conform.Finding, bool) {
	if h.fault() == nil || !strings.ContainsAny(h.text(), "“”„‘’") {
		return no()
	}
	return yes("The JSON has typographic quotes, as word processors make them.", "“ ”", `write " instead`)
}

var comments = regexp.MustCompile(`(?m)^\s*(//|#)|/\*`)

func comment(h *hit) (conform.Finding, bool) {
	if h.fault() == nil {
		return no()
	}
	found := comments.FindString(h.text())
	if found == "" {
		return no()
	}
	return yes("The JSON has a comment in it.", strings.TrimSpace(found), "JSON has no comments: leave it out")
}

var trailing = regexp.MustCompile(`,\s*[}\]]`)

func trailingComma(h *hit) (conform.Finding, bool) {
	if h.fault() == nil {
		return no()
	}
	found := trailing.FindString(h.text())
	if found == "" {
		return no()
	}
	return yes("The JSON has a comma before a closing bracket.", found, "leave the last comma out")
}

var python = regexp.MustCompile(`[:\[,]\s*(True|False|None|undefined|NaN|-?Infinity)\b`)

func pythonWords(h *hit) (conform.Finding, bool) {
	if h.fault() == nil {
		return no()
	}
	m := python.FindStringSubmatch(h.text())
	if m == nil {
		return no()
	}
	return yes("The JSON has the word "+m[1]+", which is of a programming language.", m[1],
		"JSON has true, false and null; let a library encode it")
}

var single = regexp.MustCompile(`^\s*\{\s*'`)

func singleQuotes(h *hit) (conform.Finding, bool) {
	if !single.MatchString(h.text()) {
		return no()
	}
	return yes("The JSON has single quotes.", "'", `names and strings have double quotes; let a library encode it`)
}

var unquoted = regexp.MustCompile(`^\s*\{\s*[A-Za-z_]\w*\s*[:=]`)

func unquotedNames(h *hit) (conform.Finding, bool) {
	found := unquoted.FindString(h.text())
	if found == "" {
		return no()
	}
	return yes("The JSON has names of members without quotes.", found, `write "name": with double quotes`)
}

var lineBreak = regexp.MustCompile(`"[^"\\\n]{3,}\n[^"\n]*"`)

func lineBreakInString(h *hit) (conform.Finding, bool) {
	if h.fault() == nil || !lineBreak.MatchString(h.text()) {
		return no()
	}
	return yes("A string of the JSON has a line break in it.", "a line break",
		"write long values, such as the JWT, on one line")
}

func notUTF8(h *hit) (conform.Finding, bool) {
	if h.fault() == nil || utf8.ValidString(h.text()) {
		return no()
	}
	return yes("The JSON is not UTF-8.", "a byte that no character has", "write UTF-8 (RFC 8259 8.1)")
}

func cutOff(h *hit) (conform.Finding, bool) {
	err := h.fault()
	text := strings.TrimSpace(h.text())
	open := strings.Count(text, "{") > strings.Count(text, "}")
	if err == nil || !open {
		return no()
	}
	return yes("The JSON ends before its closing bracket.", text[max(0, len(text)-40):],
		"Content-Length may be too small: count bytes, not characters")
}

func broken(h *hit) (conform.Finding, bool) {
	err := h.fault()
	if err == nil {
		return no()
	}

	var syntax *jsontext.SyntacticError
	at := 0
	if errors.As(err, &syntax) {
		at = min(int(syntax.ByteOffset), len(h.body))
	}
	near := string(h.body[max(0, at-20):min(len(h.body), at+20)])
	return yes(fmt.Sprintf("The body is no JSON: the fault is at byte %d.", at), near, "let a library encode it")
}

// members returns the object of a registration request.
func (h *hit) members() jose.Object {
	if h.known != register {
		return nil
	}
	o, err := jose.ParseObject(h.body)
	if err != nil {
		return nil
	}
	return o
}

func memberMisspelt(h *hit) (conform.Finding, bool) {
	o := h.members()
	for _, want := range []string{"software_statement", "udap", "certifications"} {
		for name := range o {
			near, ok := nearest(name, []string{want})
			if ok && !o.Has(near) {
				return yes("The request has the member "+quoted(name)+" where "+near+" belongs.", name, "write "+near)
			}
		}
	}
	return no()
}

// unsigned are parameters that UDAP has in the software statement.
var unsigned = []string{"client_name", "redirect_uris", "grant_types", "jwks", "jwks_uri", "scope"}

func unsignedParameters(h *hit) (conform.Finding, bool) {
	o := h.members()
	if o == nil || o.Has("software_statement") {
		return no()
	}

	for _, name := range unsigned {
		if o.Has(name) {
			return yes("The registration has its parameters in the request itself, as in RFC 7591.", name,
				"put them into a software statement that the certificate's key signs (UDAP Security 2.0, 3.1)")
		}
	}

	for _, name := range []string{"client_assertion", "jwt", "token", "statement", "assertion"} {
		if o.Has(name) {
			return yes("The registration has the member "+name+" where software_statement belongs.", name,
				"write software_statement")
		}
	}

	return no()
}

func statementAsObject(h *hit) (conform.Finding, bool) {
	if o := h.members(); o["software_statement"].Kind() != '{' {
		return no()
	}
	return yes("The software statement is a JSON object that nobody signed.", "an object",
		"sign it, and send the compact JWT as a string (UDAP Security 2.0, 3.1)")
}

func udapAsNumber(h *hit) (conform.Finding, bool) {
	o := h.members()
	kind := o["udap"].Kind()
	if o == nil || !o.Has("udap") || kind == '"' {
		return no()
	}
	return yes("The member udap is no string.", string(o["udap"]), `write "udap": "1"`)
}

// formRules recognise slips in forms.
var formRules = []rule{
	{"form-field-twice", fieldTwice, false},
	{"form-question-mark", formQuestionMark, true},
	{"form-semicolons", formSemicolons, true},
	{"form-html-ampersand", formHTML, true},
	{"form-colons", formColons, true},
	{"form-line-break-at-end", formLineBreak, false},
	{"form-spaces", formSpaces, false},
	{"form-encoded-twice", formEncodedTwice, false},
	{"form-field-misspelt", fieldMisspelt, false},
	{"form-grant-type", grantType, false},
	{"form-assertion-type", assertionType, false},
}

func (h *hit) value(name string) string {
	for _, p := range h.form() {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

func fieldTwice(h *hit) (conform.Finding, bool) {
	seen := map[string]bool{}
	for _, p := range h.form() {
		if p.value == "" {
			continue
		}
		if seen[p.name] {
			return yes("The form has "+quoted(p.name)+" twice.", p.name, "send each parameter once (RFC 6749 3.2)")
		}
		seen[p.name] = true
	}

	return no()
}

func formQuestionMark(h *hit) (conform.Finding, bool) {
	if h.form() == nil || !strings.HasPrefix(string(h.body), "?") {
		return no()
	}
	return yes("The form begins with a question mark.", string(h.body[:min(len(h.body), 30)]), "leave it out")
}

func formSemicolons(h *hit) (conform.Finding, bool) {
	p := h.form()
	if len(p) == 0 || !strings.Contains(p[0].raw, ";") || !strings.Contains(p[0].raw, "=") {
		return no()
	}
	return yes("The form separates its fields by semicolons.", ";", "separate them by &")
}

func formHTML(h *hit) (conform.Finding, bool) {
	if h.form() == nil || !bytes.Contains(h.body, []byte("&amp;")) {
		return no()
	}
	return yes("The form has &amp; where & belongs: it was copied out of HTML.", "&amp;", "write & alone")
}

var colons = regexp.MustCompile(`^\s*["']?(grant_type|client_assertion|scope|udap)["']?\s*:`)

func formColons(h *hit) (conform.Finding, bool) {
	found := colons.FindString(string(h.body))
	if h.form() == nil || found == "" {
		return no()
	}
	return yes("The form has name: value where name=value belongs.", found, "write grant_type=…&scope=…")
}

func formLineBreak(h *hit) (conform.Finding, bool) {
	if h.form() == nil || !bytes.HasSuffix(h.body, []byte("\n")) {
		return no()
	}
	return yes("The form ends in a line break, which is part of its last value.", "a line break",
		"leave it out; curl -d @FILE does, --data-binary does not")
}

func formSpaces(h *hit) (conform.Finding, bool) {
	for _, p := range h.form() {
		if p.name != strings.TrimSpace(p.name) || strings.HasPrefix(p.value, " ") || strings.HasSuffix(p.value, " ") {
			return yes("The form has a space around the name or the value of "+quoted(strings.TrimSpace(p.name))+".",
				p.name+"=", "leave it out")
		}
	}
	return no()
}

var escaped = regexp.MustCompile(`%(3A|2F|20|3D|2E|2B)`)

func formEncodedTwice(h *hit) (conform.Finding, bool) {
	for _, p := range h.form() {
		if found := escaped.FindString(p.value); found != "" {
			return yes("The value of "+quoted(p.name)+" is percent-encoded twice.", found, "encode it once")
		}
	}
	return no()
}

var fields = []string{
	"grant_type", "client_assertion", "client_assertion_type", "scope", "udap", "code", "redirect_uri",
	"code_verifier", "refresh_token", "client_id", "token", "token_type_hint", "client_secret",
}

func fieldMisspelt(h *hit) (conform.Finding, bool) {
	for _, p := range h.form() {
		near, ok := nearest(p.name, fields)
		if ok && h.value(near) == "" {
			return yes("The form has "+quoted(p.name)+" where "+near+" belongs.", p.name, "write "+near)
		}
	}
	return no()
}

func grantType(h *hit) (conform.Finding, bool) {
	got := h.value("grant_type")
	if near, ok := nearest(got, []string{"client_credentials", "authorization_code", "refresh_token"}); ok {
		return yes("The value of grant_type is "+quoted(got)+", which is nearly "+near+".", got, "write "+near)
	}
	return no()
}

const bearerAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func assertionType(h *hit) (conform.Finding, bool) {
	got := h.value("client_assertion_type")
	switch near, ok := nearest(strings.Trim(got, `"' `), []string{bearerAssertion}); {
	case got == "" || got == bearerAssertion:
		return no()
	case ok && near != "", slices.Contains([]string{"jwt-bearer", "jwt", "JWT", "private_key_jwt"}, got):
	case strings.Contains(got, "jwt-bearer"), distance(got, bearerAssertion, 12) < 12:
	default:
		return no()
	}
	return yes("The value of client_assertion_type is not the one of RFC 7523.", got, "write "+bearerAssertion)
}
