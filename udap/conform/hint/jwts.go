package hint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/jose"
)

// jwtRules recognise slips in how a JWT is written, and one that is of another kind.
var jwtRules = []rule{
	{"jwt-quoted", jwtQuoted, true},
	{"jwt-with-bearer", jwtWithBearer, true},
	{"jwt-with-spaces", jwtWithSpaces, true},
	{"jwt-with-padding", jwtWithPadding, true},
	{"jwt-standard-base64", jwtStandardBase64, true},
	{"jwt-placeholder", jwtPlaceholder, true},
	{"jwt-encrypted", jwtEncrypted, true},
	{"jwt-segments", jwtSegments, true},
	{"jwt-of-other-kind", jwtOfOtherKind, true},
	{"jwt-of-other-session", jwtOfOtherSession, true},
	{"jwt-by-http", jwtByHTTP, true},
}

// jwt returns the JWT of a request, and the name of the parameter that has it.
func (h *hit) jwt() (text, name string) {
	switch {
	case h.e.Method != "POST":
		return "", ""
	case h.wantsForm():
		return h.value("client_assertion"), "client_assertion"
	case h.known == register:
		text, _ = h.members().Text("software_statement")
		return text, "software_statement"
	}
	return "", ""
}

func jwtQuoted(h *hit) (conform.Finding, bool) {
	text, name := h.jwt()
	if text == "" || strings.Trim(text, `"'`) == text {
		return no()
	}
	return yes("The value of "+name+" has quotes around it.", text[:min(len(text), 12)], "send the JWT alone")
}

func jwtWithBearer(h *hit) (conform.Finding, bool) {
	text, name := h.jwt()
	if !strings.HasPrefix(strings.ToLower(text), "bearer ") {
		return no()
	}
	return yes("The value of "+name+" begins with Bearer.", "Bearer …", "send the JWT alone")
}

func jwtWithSpaces(h *hit) (conform.Finding, bool) {
	text, name := h.jwt()
	if !strings.ContainsAny(text, " \t\r\n") || strings.Count(text, ".") < 2 {
		return no()
	}

	how := "a space"
	if strings.ContainsAny(text, "\r\n") {
		how = "a line break"
	}
	return yes("The value of "+name+" has "+how+" in it.", how,
		"write the JWT on one line; in a form, a plus sign that is not encoded becomes a space")
}

func jwtWithPadding(h *hit) (conform.Finding, bool) {
	text, name := h.jwt()
	if !strings.Contains(text, "=") || strings.Count(text, ".") < 2 {
		return no()
	}
	return yes("The segments of "+name+" have padding (=).", "=", "write base64url without padding (RFC 7515 2)")
}

func jwtStandardBase64(h *hit) (conform.Finding, bool) {
	text, name := h.jwt()
	if !strings.ContainsAny(text, "+/") || strings.Count(text, ".") != 2 {
		return no()
	}
	return yes("The segments of "+name+" are in the standard alphabet of base64.", "+ or /",
		"write base64url, which has - and _ (RFC 7515 2)")
}

func jwtPlaceholder(h *hit) (conform.Finding, bool) {
	text, name := h.jwt()
	words := []string{"undefined", "null", "none", "string", "jwt", "true", "[object object]", "todo"}
	template := strings.HasPrefix(text, "{") || strings.HasPrefix(text, "<") || strings.HasPrefix(text, "$")
	if !template && !slices.Contains(words, strings.ToLower(text)) {
		return no()
	}
	return yes("The value of "+name+" is a placeholder or an object, and no JWT.", text, "send the compact JWT")
}

func jwtEncrypted(h *hit) (conform.Finding, bool) {
	if text, _ := h.jwt(); strings.Count(text, ".") != 4 {
		return no()
	}
	return yes("The JWT has five segments: it is encrypted (JWE).", "5 segments", "sign it, and do not encrypt it")
}

func jwtSegments(h *hit) (conform.Finding, bool) {
	text, name := h.jwt()
	n := strings.Count(text, ".") + 1
	if text == "" || n == 3 {
		return no()
	}
	return yes(fmt.Sprintf("The value of %s has %d segments.", name, n), text,
		"a signed JWT has three, with a dot between them (RFC 7515 7.1)")
}

// claims returns the payload of the request's JWT without verifying anything.
func (h *hit) claims() jose.Object {
	text, _ := h.jwt()
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil
	}

	payload, err := jose.DecodeSegment(parts[1])
	if err != nil {
		return nil
	}

	o, err := jose.ParseObject(payload)
	if err != nil {
		return nil
	}
	return o
}

func jwtOfOtherKind(h *hit) (conform.Finding, bool) {
	_, name := h.jwt()
	o := h.claims()
	forRegistration := o.Has("grant_types") || o.Has("client_name") || o.Has("redirect_uris")
	switch {
	case name == "client_assertion" && forRegistration:
		return yes("The client_assertion is a software statement.", "registration parameters among its claims",
			"sign an authentication token, whose iss and sub are the client_id (UDAP Security 2.0, 4.2.1)")

	case name == "software_statement" && o.Has("extensions"):
		return yes("The software_statement is an authentication token.", "extensions among its claims",
			"sign a software statement, with the registration parameters (UDAP Security 2.0, 3.1)")
	}

	return no()
}

// addressed returns the audiences of the request's JWT.
func (h *hit) addressed() []string {
	o := h.claims()
	if one, ok := o.Text("aud"); ok {
		return []string{one}
	}
	list, _ := o.List("aud")
	return list
}

var identified = regexp.MustCompile(`/lab/([0-9A-Za-z_-]{8,64})/`)

func jwtOfOtherSession(h *hit) (conform.Finding, bool) {
	own := identified.FindStringSubmatch(h.base + "/")
	for _, aud := range h.addressed() {
		other := identified.FindStringSubmatch(aud)
		if other != nil && (own == nil || own[1] != other[1]) {
			f, ok := yes("The aud of the JWT is a URL of another session.", aud,
				"read the metadata of this session again, and use its URLs")
			f.Expected = h.place.Issuer
			return f, ok
		}
	}

	return no()
}

func jwtByHTTP(h *hit) (conform.Finding, bool) {
	for _, aud := range h.addressed() {
		if rest, ok := strings.CutPrefix(aud, "http://"); ok && strings.HasPrefix("https://"+rest, h.place.Issuer) {
			f, ok := yes("The aud of the JWT has http:// where https:// belongs.", aud, "use the URLs of the metadata")
			f.Expected = "https://" + rest
			return f, ok
		}
	}
	return no()
}
