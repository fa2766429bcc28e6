package lab

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// mask replaces the credentials in an exchange. The signed documents of a request stay
// whole when its decision shows that they have been used up: others could still be used
// by whoever sees them, so that they lose their signatures.
func mask(e *conform.Exchange) {
	e.Target = maskSignatures(e.Target)
	e.Request.Head = []byte(maskSignatures(string(e.Request.Head)))
	if !spent(e) {
		e.Request.Body = []byte(maskSignatures(string(e.Request.Body)))
	}

	oauth := strings.Contains(pathOf(e.Target), "/oauth/")
	e.Target = maskURL(e.Target)
	e.Request.Head = maskHead(e.Request.Head)
	e.Answer.Head = maskHead(e.Answer.Head)
	e.Request.Body = maskBody(e.Request.Body, oauth)
	e.Answer.Body = maskBody(e.Answer.Body, oauth)
	for i, t := range e.Traces {
		e.Traces[i] = maskTrace(t)
	}
}

// maskTrace returns a decision without the signatures of JWTs that a finding quotes,
// such as one in a parameter where none belongs. The decision itself is others', too.
func maskTrace(t *trace.Trace) *trace.Trace {
	shown := *t
	shown.Steps = slices.Clone(t.Steps)
	for i := range shown.Steps {
		s := &shown.Steps[i]
		s.Expected = maskSignatures(s.Expected)
		s.Found = maskSignatures(s.Found)
		s.Remedy = maskSignatures(s.Remedy)
	}
	return &shown
}

// Names of what is secret, in parameters and in JSON.
var (
	secretNames = []string{
		"access_token", "accesstoken", "actor_token", "api_key", "auth_token", "client_secret", "clientsecret",
		"device_code", "launch", "password", "refresh_token", "refreshtoken", "subject_token", "token",
		"user_code",
	}
	// signedNames are tokens whose content is shown, without their signatures.
	signedNames = []string{"id_token", "id_token_hint"}
	// codeName is secret but in FHIR.
	codeName = "code"
)

// shortest is how long a secret must be for something of it to be shown.
const shortest = 16

// masked returns the beginning of a secret and the beginning of its digest, by which
// equal ones are recognised. Short ones could be guessed from a digest.
func masked(secret string) string {
	if len(secret) < shortest {
		return "…"
	}
	sum := sha256.Sum256([]byte(secret))
	return strings.ToValidUTF8(secret[:4], "?") + "…" + hex.EncodeToString(sum[:6])
}

// maskSignature masks the last part of a JWS in compact form.
func maskSignature(token string) string {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || strings.Count(token, ".") != 2 {
		return masked(token)
	}
	return token[:i+1] + masked(token[i+1:])
}

// spent reports whether the decisions about an exchange used up its JWT.
func spent(e *conform.Exchange) bool {
	return slices.ContainsFunc(e.Traces, func(t *trace.Trace) bool {
		switch t.Effect {
		case trace.Registered, trace.Changed, trace.Cancelled, trace.Issued, trace.Introspected, trace.Revoked:
			return true
		}
		return slices.ContainsFunc(t.Steps, func(s trace.Step) bool {
			return (s.Check == "register.jti" || s.Check == "client.jti") && s.Verdict != trace.Refused
		})
	})
}

// jwt is a signed JWT wherever it is, in a form, in a URL or in JSON: its two first
// parts, and its signature. Its header is a JSON object, so that it begins with e.
var jwt = func() *regexp.Regexp {
	const (
		part = `(?:[A-Za-z0-9_+/=-]|%2[BbDdFf]|%3[Dd]|%5[Ff])`
		dot  = `(?:\.|%2[Ee]|\\u002[Ee])`
	)
	return regexp.MustCompile(`(e[w-z]` + part + `{14,}` + dot + part + `+` + dot + `)(` + part + `{32,})`)
}()

// maskSignatures masks the signatures of all JWTs in a text. What is in their place
// can be decoded as a signature, and ends as it ended: other mistakes stay visible.
func maskSignatures(text string) string {
	return jwt.ReplaceAllStringFunc(text, func(token string) string {
		parts := jwt.FindStringSubmatch(token)
		sum := sha256.Sum256([]byte(parts[2]))
		signed := strings.TrimRight(parts[2], "=")
		return parts[1] + conform.MaskedSignature + hex.EncodeToString(sum[:6]) + parts[2][len(signed):]
	})
}

// maskValue masks the value of a name; ok is false for a name that is no secret.
func maskValue(name, value string, oauth bool) (shown string, ok bool) {
	name = strings.ReplaceAll(strings.ToLower(name), "-", "_")
	switch {
	case value == "":
		return "", false
	case slices.Contains(secretNames, name), name == codeName && oauth:
		return masked(value), true
	case slices.Contains(signedNames, name):
		return maskSignature(value), true
	}
	return "", false
}

// around is what may be around the name of a parameter by mistake, such as the beginning
// of a document.
const around = " \t\r\n{[<\"'"

// maskPairs masks the values of secrets in a query or in a form.
func maskPairs(text string, oauth bool) string {
	if !strings.Contains(text, "=") {
		return text
	}

	pairs := strings.Split(text, "&")
	for i, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		secret, err := url.QueryUnescape(value)
		if err != nil {
			secret = value
		}

		if shown, ok := maskValue(strings.Trim(plain, around), secret, oauth); ok {
			pairs[i] = name + "=" + shown
		}
	}

	return strings.Join(pairs, "&")
}

// maskURL masks the values of secrets in the query and the fragment of a URL. Codes are
// in those of the authorization server alone, and of its clients.
func maskURL(text string) string {
	i := strings.IndexAny(text, "?#")
	if i < 0 {
		return text
	}

	fhir := strings.Contains(text[:i], "/fhir/") || strings.HasSuffix(text[:i], "/fhir")
	query, fragment, has := strings.Cut(text[i+1:], "#")
	shown := text[:i+1] + maskPairs(query, !fhir)
	if has {
		shown += "#" + maskPairs(fragment, !fhir)
	}

	return shown
}

// looseCredentials are credentials wherever they are in a head.
var looseCredentials = regexp.MustCompile(`(?i)\b(bearer|basic|dpop)[ \t]+([a-z0-9._~+/=-]{8,})`)

// maskHead masks a head, which may be broken.
func maskHead(head []byte) []byte {
	if len(head) == 0 {
		return head
	}

	lines := bytes.SplitAfter(head, []byte("\n"))
	var out []byte
	secret := false

	for i, line := range lines {
		text := strings.TrimRight(string(line), "\r\n")
		end := string(line[len(text):])
		switch {
		case i == 0:
			text = maskStart(text)
		case secret && text != "" && (text[0] == ' ' || text[0] == '\t'):
			text = " " + masked(strings.TrimSpace(text))
		default:
			text, secret = maskField(text)
		}

		out = append(append(out, text...), end...)
	}

	return looseCredentials.ReplaceAllFunc(out, func(found []byte) []byte {
		parts := looseCredentials.FindSubmatch(found)
		return fmt.Appendf(nil, "%s %s", parts[1], masked(string(parts[2])))
	})
}

// maskStart masks a start line.
func maskStart(line string) string {
	method, rest, found := strings.Cut(line, " ")
	if !found || strings.HasPrefix(method, "HTTP/") {
		return line
	}
	target, version := rest, ""
	if i := strings.LastIndex(rest, " HTTP/"); i >= 0 {
		target, version = rest[:i], rest[i:]
	}
	return method + " " + maskURL(target) + version
}

// maskField masks a field line, and reports whether its value is a secret, so that a
// line that continues it is one, too.
func maskField(line string) (shown string, secret bool) {
	name, value, found := strings.Cut(line, ":")
	if !found {
		return line, false
	}

	switch strings.ToLower(strings.TrimSpace(name)) {
	case "authorization", "proxy-authorization":
		scheme, rest, two := strings.Cut(strings.TrimSpace(value), " ")
		if !two {
			return name + ": " + masked(scheme), true
		}
		return name + ": " + scheme + " " + masked(strings.TrimSpace(rest)), true

	case "cookie":
		return name + ":" + maskCookies(value, len(value)), true
	case "set-cookie":
		return name + ":" + maskCookies(value, 1), true
	case "location", "referer", "content-location", "link":
		return name + ":" + maskURL(value), false
	}

	plain := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "x-")
	if shown, ok := maskValue(plain, strings.TrimSpace(value), false); ok {
		return name + ": " + shown, true
	}
	return line, false
}

// maskCookies masks the values of the first n pairs of a cookie field.
func maskCookies(text string, n int) string {
	pairs := strings.Split(text, ";")
	for i, pair := range pairs[:min(n, len(pairs))] {
		if name, value, found := strings.Cut(pair, "="); found {
			pairs[i] = name + "=" + masked(value)
		} else {
			pairs[i] = masked(strings.TrimSpace(pair))
		}
	}
	return strings.Join(pairs, ";")
}

var (
	// jsonMember is a member whose value is a string, which may lack its end.
	jsonMember = regexp.MustCompile(`"([A-Za-z_-]{1,20})"(\s*:\s*)"((?:[^"\\]|\\.)*)"?`)
	// formPart is a part of a multipart form, or an element of XML.
	formPart   = regexp.MustCompile(`(?i)(name="?([a-z_-]{1,20})"?[^\r\n]*(?:\r?\n[^\r\n]+)*\r?\n\r?\n)([^\r\n]+)`)
	element    = regexp.MustCompile(`(<([A-Za-z_-]{1,20})>)([^<]+)`)
	privateKey = regexp.MustCompile(
		`-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----[^-]*(-----END [A-Z0-9 ]*PRIVATE KEY-----)?`)
	keyMembers = []string{"d", "p", "q", "dp", "dq", "qi"}
)

// maskBody masks a body, whatever its media type is.
func maskBody(body []byte, oauth bool) []byte {
	if len(body) == 0 {
		return body
	}

	out := jsonMember.ReplaceAllFunc(body, func(found []byte) []byte {
		return maskMember(found, oauth)
	})
	out = privateKey.ReplaceAll(out, []byte("-----BEGIN ${1}PRIVATE KEY-----…"))

	for _, form := range []*regexp.Regexp{formPart, element} {
		out = form.ReplaceAllFunc(out, func(found []byte) []byte {
			parts := form.FindSubmatch(found)
			shown, ok := maskValue(string(parts[2]), string(parts[3]), oauth)
			if !ok {
				return found
			}
			return slices.Concat(parts[1], []byte(shown))
		})
	}

	return []byte(maskPairs(string(out), oauth)) // whatever it begins with
}

// maskMember masks a member of a JSON object.
func maskMember(found []byte, oauth bool) []byte {
	parts := jsonMember.FindSubmatch(found)
	name := string(parts[1])
	quoted := append(append([]byte{'"'}, parts[3]...), '"')
	value, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		value = parts[3]
	}

	shown, ok := maskValue(name, string(value), oauth)
	if !ok && slices.Contains(keyMembers, name) && len(value) >= 2*shortest && isBase64URL(value) {
		shown, ok = "…", true
	}
	if !ok {
		return found
	}

	text, err := jsontext.AppendQuote(nil, shown)
	if err != nil {
		text = []byte(`"…"`)
	}
	return slices.Concat([]byte(`"`+name+`"`), parts[2], text)
}

func isBase64URL(text []byte) bool {
	return len(bytes.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")) == 0
}
