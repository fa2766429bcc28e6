package assess

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"fhirdest.example/udap/trace"
)

const bearerType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// redeeming assesses token requests.
type redeeming struct{ *Assessor }

// grantRows are the rows that say the same of different grants.
type grantRows struct {
	post, credentials, kind, assertion, version string
}

// rowsOf returns the rows of a token request by its grant.
func rowsOf(grant string) grantRows {
	switch grant {
	case clientGrant:
		return grantRows{
			post:        "S1-223",
			credentials: "S1-224",
			kind:        "S1-226",
			assertion:   "S1-227",
			version:     "S1-228",
		}
	case refreshGrant:
		return grantRows{
			post:        "S1-163",
			credentials: "S1-164",
			kind:        "S1-234",
			assertion:   "S1-234",
			version:     "S1-171",
		}
	}
	return grantRows{
		post:        "S1-163",
		credentials: "S1-164",
		kind:        "S1-169",
		assertion:   "S1-170",
		version:     "S1-171",
	}
}

// tokenRequest is a request of the token endpoint.
type tokenRequest struct{ *request }

// token assesses a token request (UDAP Security 2.0, 4.2 and 5.2).
func (a redeeming) token(r *request) {
	discovering(a).uses(r, "token_endpoint", "token")
	t := tokenRequest{r}
	grant := r.grant
	if grant == "" {
		grant = t.likely()
	}

	rows := rowsOf(grant)
	if !t.posted(rows) {
		return
	}

	t.grantType()
	t.credentials(rows)
	if r.form.Get("udap") == "1" {
		r.shows(rows.version)
	} else {
		r.violates(rows.version, mistake{
			text:     `the token request has no udap with the value 1`,
			expected: "udap=1",
			found:    r.field("udap"),
			remedy:   "add udap=1 to the form",
		})
	}

	a.authenticates(r)
	t.flow(grant)
	switch grant {
	case codeGrant:
		a.redeems(r)
	case refreshGrant:
		a.renews(r)
	case clientGrant:
		a.business(r)
	}
	a.issues(r)
}

// likely returns the grant that a request without grant_type probably means.
func (r tokenRequest) likely() string {
	switch {
	case r.form.Has("code"):
		return codeGrant
	case r.form.Has("refresh_token"):
		return refreshGrant
	case r.lane.last != nil && slices.Contains(r.lane.last.grants, codeGrant):
		return codeGrant
	}
	return clientGrant
}

// field describes a parameter of a form.
func (r *request) field(name string) string {
	if !r.form.Has(name) {
		return "no " + name
	}
	return quote(r.form.Get(name))
}

// form is the media type of token requests.
const form = "application/x-www-form-urlencoded"

// media returns the media type of the body, in lower case and without parameters.
func (r *request) media() string {
	media, _, _ := strings.Cut(r.header.get("content-type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// posted assesses that the request is a POST with a form in its body.
func (r tokenRequest) posted(rows grantRows) bool {
	media := r.media()
	switch {
	case r.Method != "POST":
		r.violates(rows.post, mistake{
			text:     "the token request is a " + trace.Cut(r.Method, 20),
			expected: "POST",
			found:    trace.Cut(r.Method, 20),
			remedy:   "POST the parameters as a form",
		})
		return false
	case r.query.Has("grant_type") || r.query.Has("client_assertion"):
		r.violates(rows.post, mistake{
			text:     "parameters of the token request are in the URL",
			expected: "parameters in the body",
			found:    "parameters in the query",
			remedy:   "URLs are kept in logs: put them into the body",
		})
		return false
	case media != form:
		text := "the token request is no form"
		if media == "" {
			text = "the token request has no Content-Type"
		}
		r.violates(rows.post, mistake{
			text:     text,
			expected: form,
			found:    quote(media),
			remedy:   "POST the parameters as " + form,
		})
		return false
	}

	for _, name := range slices.Sorted(maps.Keys(r.form)) {
		if len(r.form[name]) > 1 {
			r.violates(rows.post, mistake{
				text:     "a parameter is there twice",
				expected: "each parameter once (RFC 6749 3.2)",
				found:    trace.Cut(name, maxShown),
			})
			return true
		}
	}
	r.shows(rows.post)
	return true
}

// grantRow are the rows about grant_type itself.
var grantRow = map[string]string{
	codeGrant:    "S1-141",
	clientGrant:  "S1-225",
	refreshGrant: "S1-232",
}

// grantType assesses grant_type itself.
func (r tokenRequest) grantType() {
	if id, ok := grantRow[r.grant]; ok {
		r.shows(id)
		return
	}
	r.violates(grantRow[r.likely()], mistake{
		text:     "grant_type is none that this server knows",
		expected: r.likely(),
		found:    r.field("grant_type"),
	})
}

// credentials assesses that an assertion is the only credential.
func (r tokenRequest) credentials(rows grantRows) {
	switch {
	case r.header.get("authorization") != "":
		r.violates(rows.credentials, mistake{
			text:     "the token request has an Authorization header",
			expected: "no Authorization header",
			found:    "an Authorization header",
			remedy:   "the authentication token is the client's only credential",
		})
	case r.form.Has("client_secret"):
		r.violates(rows.credentials, mistake{
			text:     "the token request has a client_secret",
			expected: "no client_secret",
			found:    "a client_secret",
			remedy:   "the authentication token is the client's only credential",
		})
	default:
		r.shows(rows.credentials)
	}

	if kind := r.form.Get("client_assertion_type"); kind == bearerType {
		r.shows(rows.kind)
	} else {
		r.violates(rows.kind, mistake{
			text:     "client_assertion_type is not that of a JWT bearer assertion",
			expected: bearerType,
			found:    r.field("client_assertion_type"),
		})
	}
	if r.form.Get("client_assertion") == "" {
		r.violates(rows.assertion, mistake{
			text:     "the token request has no client_assertion",
			expected: "an authentication token",
			found:    "no client_assertion",
			remedy:   "authenticate by a signed JWT",
		})
	} else {
		r.shows(rows.assertion)
	}
}

// authenticates assesses the authentication token of a request.
func (a redeeming) authenticates(r *request) {
	d := r.doc
	if d == nil {
		return
	}
	of := jwts(a)
	of.envelope(r)
	if d.jws == nil || r.forged() {
		return
	}

	a.clientID(r)
	a.bound(r)
	if r.place == token {
		of.audience(r, "S1-155", "token")
		r.supports("token_endpoint_auth_signing_alg_values_supported", algorithm(d))
	}
	of.times(r, timeRows{
		exp:      "S1-156",
		expired:  "S1-180",
		iat:      "S1-157",
		lifetime: "S1-160",
		check:    "assertion",
	})
	of.identifier(r, "S1-158", "S1-159")
}

// clientID assesses that the client names itself by the client_id that it was given.
func (a redeeming) clientID(r *request) {
	d := r.doc
	iss := d.text("iss")
	known, assigned := a.clients.get(digest(iss))
	switch {
	case iss == "":
		r.violates("S1-153", mistake{
			text:     "the authentication token has no iss",
			expected: "the client_id",
			found:    d.shown("iss"),
			remedy:   "add the client_id",
		})
	case !assigned && strings.Contains(iss, "://"):
		r.violates("S1-153", mistake{
			text:     "iss of the authentication token is a URI, where the client_id belongs",
			expected: "the client_id",
			found:    quote(iss),
			remedy:   "the client URI is iss of the software statement alone",
		})
	case assigned && known.cancelled != 0:
		r.violates("S1-123", mistake{
			text:     "the client_id is used after the answer that the registration is cancelled",
			expected: "no use of it, or a new registration",
			found:    quote(iss),
			remedy:   "register again before asking for a token",
		})
	case !assigned && !r.passed("assertion.iss"):
		r.violates("S1-067", mistake{
			text:     "the client_id is none that was assigned here",
			expected: "the client_id of the registration's answer",
			found:    quote(iss),
			remedy:   "keep the client_id of each server apart",
		})
	default:
		r.shows("S1-153", "S1-067")
	}

	wrong := r.found("S1-153") != nil || r.found("S1-067") != nil
	if sub := d.text("sub"); sub == "" || sub != iss && !wrong {
		r.violates("S1-154", mistake{
			text:     "sub of the authentication token is not iss",
			expected: quote(iss),
			found:    d.shown("sub"),
			remedy:   "sub and iss are both the client_id",
		})
	} else if sub == iss {
		r.shows("S1-154")
	}

	sent := r.form.Get("client_id")
	switch {
	case sent == "":
	case sent != iss:
		r.violates("S1-178", mistake{
			text:     "the parameter client_id is not iss of the authentication token",
			expected: quote(iss),
			found:    quote(sent),
			remedy:   "leave client_id out, or send the same",
		})
	default:
		r.shows("S1-178")
	}
}

// bound assesses that the certificate has the URI of the registration.
func (a redeeming) bound(r *request) {
	known, ok := a.clients.get(digest(r.doc.text("iss")))
	names := r.doc.names()
	switch {
	case !ok || known.uri == "" || len(r.doc.certs) == 0 || r.found("S1-008") != nil:
	case !slices.Contains(names, string(known.uri)):
		r.violates("S1-177", mistake{
			text:     "the certificate does not have the URI to which the registration is bound",
			expected: string(known.uri),
			found:    strings.Join(names, " "),
			remedy:   "sign with a certificate of the client that registered",
		})
	default:
		r.shows("S1-177")
	}
}

// flow assesses that a client uses the flow for which it registered.
func (r tokenRequest) flow(grant string) {
	last := r.lane.last
	if _, known := grantRow[grant]; last == nil || !known {
		return
	}

	interactive := slices.Contains(last.grants, codeGrant)
	switch {
	case interactive && grant == clientGrant:
		r.violates("S1-185", mistake{
			text:     "a client that registered for authorization_code asked for a token by client_credentials",
			expected: codeGrant,
			found:    clientGrant,
			remedy:   "register each flow under a client URI of its own",
		})
	case !interactive && grant != clientGrant:
		r.violates("S1-186", mistake{
			text:     "a client that registered for client_credentials asked for a token by " + trace.Cut(grant, 40),
			expected: clientGrant,
			found:    quote(grant),
			remedy:   "register each flow under a client URI of its own",
		})
	case r.succeeded() && interactive:
		r.shows("S1-185")
	case r.succeeded():
		r.shows("S1-186")
	}
}

// redeems assesses the exchange of a code (RFC 6749 4.1.3).
func (a redeeming) redeems(r *request) {
	if r.doc != nil && r.doc.jws != nil {
		if ext, ok := r.extensions(); ok && ext.Has("hl7-b2b") {
			r.violates("S1-199", mistake{
				text:     "an hl7-b2b object is sent in the code flow",
				expected: "no hl7-b2b object",
				found:    "hl7-b2b",
				remedy:   "leave it out: a person acts, and the server knows who",
			})
		} else {
			r.shows("S1-199")
		}
	}

	value := r.form.Get("code")
	c, known := a.codes.get(digest(value))
	switch {
	case value == "":
		r.violates("S1-142", mistake{
			text:     "the token request has no code",
			expected: "the code of the answer",
			found:    "no code",
		})
		return
	case known && c.spent != 0:
		r.violates("S1-136", mistake{
			text:     "the code was used before",
			expected: "each code once",
			found:    fmt.Sprintf("first used in exchange %d", c.spent),
			remedy:   "ask for a new code; a client that repeats a code loses its tokens",
		})
		return
	case r.found("S1-186") != nil: // it can have none
		return
	case !known && !r.succeeded() && !r.failed():
		r.violates("S1-142", mistake{
			text:     "the code is none that was issued here",
			expected: "the code of the answer",
			found:    "another code",
		})
		return
	case !known:
		return
	}

	r.shows("S1-142", "S1-136", "S1-139")
	if r.succeeded() {
		c.spent = r.N
		if c.request != nil {
			c.request.redeemed = true
		}
	}
	if c.altered != "" {
		r.violates("S1-274", mistake{
			text:     "the code was redeemed although state of the answer was not that of the request",
			expected: "the client stops",
			found:    "it went on",
			remedy:   "compare state with the one that was sent before using the code",
		})
	}
	t := tokenRequest{r}
	t.redirected(c.request)
	t.verifier(c.request)
}

// redirected assesses redirect_uri of a token request against the request for the
// code.
func (r tokenRequest) redirected(asked *authorization) {
	if asked == nil {
		return
	}

	sent := trace.Cut(r.form.Get("redirect_uri"), maxURL)
	switch {
	case asked.redirect == "" && sent != "":
		r.violates("S1-167", mistake{
			text:     "redirect_uri is sent for a code that was asked for without it",
			expected: "no redirect_uri",
			found:    quote(sent),
		})
	case asked.redirect != sent:
		r.violates("S1-143", mistake{
			text:     "redirect_uri is not that of the authorization request",
			expected: quote(asked.redirect),
			found:    r.field("redirect_uri"),
			remedy:   "send the same value, byte for byte",
		})
	default:
		r.shows("S1-143", "S1-167")
	}
}

// verifier assesses that code_verifier comes where there was a challenge.
func (r tokenRequest) verifier(asked *authorization) {
	s, decided := r.step("token.code_verifier")
	switch {
	case asked == nil || !asked.challenge:
	case !r.form.Has("code_verifier"):
		r.violates("S2-13", mistake{
			text:     "the code is redeemed without code_verifier",
			expected: "the verifier of the challenge",
			found:    "no code_verifier",
			remedy:   "send the value of which code_challenge is the SHA-256",
		})
	case decided && isRefusal(s):
		r.violates("S2-13", mistake{
			text:     "code_verifier is not the one of which code_challenge is the SHA-256",
			expected: s.Expected,
			found:    s.Found,
			remedy:   s.Remedy,
		})
	case r.succeeded():
		r.shows("S2-13")
	}
}

// renews assesses a refresh request (RFC 6749 6).
func (a redeeming) renews(r *request) {
	value := r.form.Get("refresh_token")
	if value == "" {
		r.violates("S1-233", mistake{
			text:     "the refresh request has no refresh_token",
			expected: "the refresh token that was issued",
			found:    "no refresh_token",
		})
		return
	}

	known, ok := a.refreshes.get(digest(value))
	switch {
	case r.found("S1-186") != nil: // it can have none
	case !ok && !r.succeeded() && !r.failed():
		r.violates("S1-233", mistake{
			text:     "the refresh token is none that was issued here",
			expected: "the last refresh token",
			found:    "another one",
		})
	case !ok:
	case known.spent != 0 && r.succeeded():
		r.warns("C-05", "a refresh token that was replaced is used again: its successor was never used",
			"keep the new refresh token of each answer, and refresh one at a time")
	case known.spent == 0 && r.refused("token.refresh_token"):
		r.ended("refresh token", "ask the person again")
	case known.spent != 0:
		r.violates("C-05", mistake{
			text:     "a refresh token that was replaced is used again",
			expected: "the last refresh token",
			found:    fmt.Sprintf("one that was replaced in exchange %d", known.spent),
			remedy:   "keep the new refresh token of each answer, and refresh one at a time",
		})
	default:
		r.shows("S1-231", "S1-233", "C-05")
	}
}

// issues takes note of the tokens of an answer.
func (a redeeming) issues(r *request) {
	if !r.succeeded() || r.answer == nil {
		return
	}

	now := issued{
		lane:   r.lane,
		client: trace.ClientID(trace.Cut(r.doc.text("iss"), maxShown)),
	}
	if value, ok := r.answer.Text("access_token"); ok && value != "" {
		access := now
		a.tokens.set(digest(value), &access)
	}

	next, ok := r.answer.Text("refresh_token")
	if !ok || next == "" {
		return
	}
	used := r.form.Get("refresh_token")
	if old, known := a.refreshes.get(digest(used)); known && used != next {
		old.spent = r.N
	}
	refresh := now
	a.refreshes.set(digest(next), &refresh)
}
