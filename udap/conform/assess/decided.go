package assess

import (
	"cmp"
	"slices"
	"strings"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// decidedBy are the rows that a check of the destination is about, the one that it
// most likely refused by first. A name that begins with a dot stands for both
// statement and assertion.
var decidedBy = map[string][]string{
	"jws.form":        {"S1-003", "S1-002", "S1-001", "S1-007"},
	"jws.header":      {"S1-002"},
	"x5c.form":        {"S1-008"},
	"x5c.key":         {"S1-002"},
	"x5c.thumbprint":  {"S1-002"},
	"x5c.jku":         {"S2-24", "S1-008"},
	"register.udap":   {"S1-071"},
	"register.body":   {"S1-071", "S1-003", "S1-020"},
	"register.jti":    {"S1-082"},
	"statement.iss":   {"S1-075"},
	"statement.sub":   {"S1-076", "S1-075"},
	"statement.aud":   {"S1-077"},
	"statement.exp":   {"S1-078"},
	"statement.iat":   {"S1-080"},
	"statement.nbf":   {"S1-001"},
	"statement.jti":   {"S1-081"},
	"assertion.iss":   {"S1-153", "S1-067", "S1-123"},
	"assertion.sub":   {"S1-154", "S1-153", "S1-067", "S1-123"},
	"assertion.aud":   {"S1-155"},
	"assertion.exp":   {"S1-180", "S1-156"},
	"assertion.iat":   {"S1-157"},
	"assertion.nbf":   {"S1-001"},
	"assertion.jti":   {"S1-158"},
	"client.jti":      {"S1-159"},
	"b2b.object":      {"S1-198"},
	"b2b.version":     {"S1-202"},
	"b2b.subject":     {"S1-204", "S1-208", "S1-205", "S1-203"},
	"b2b.consent":     {"S1-217", "S1-218", "S1-219", "S1-221"},
	"b2b.extensions":  {"TF-45"},
	"b2b.treatment":   {"TF-47"},
	"b2b.san_purpose": {"TF-48"},
	"b2b.tefca_ias":   {"S1-198"},

	"b2b.organization":         {"S1-212", "S1-213", "S1-210", "S1-214"},
	"b2b.purpose_of_use":       {"S1-215", "TF-46"},
	"statement.lifetime":       {"S1-079", "S1-078"},
	"assertion.lifetime":       {"S1-160", "S1-156"},
	"assertion.certificate":    {"S1-177"},
	"assertion.client_id":      {"S1-178"},
	"registration.client_name": {"S1-083"},
	"registration.grant_types": {"S1-092"},
	"registration.contacts":    {"S1-086", "S1-087"},
	"registration.scope":       {"S1-097"},

	"registration.redirect_uris":              {"S1-084", "S1-085", "S2-11"},
	"registration.response_types":             {"S1-094", "S1-093", "S1-095"},
	"registration.logo_uri":                   {"S1-090", "S1-088", "S1-091"},
	"registration.token_endpoint_auth_method": {"S1-096"},

	"registration.uris":     {"C-14"},
	"registration.required": {"C-14"},
	"register.grants":       {"S1-021", "S1-092"},
	"register.scope":        {"C-13", "S1-097", "S1-099", "S1-100"},
	"token.scope":           {"C-13"},
	"assertion.scope":       {"C-13"},
	"userinfo.scope":        {"C-10"},
	"community.alg":         {"S1-021", "S1-007"},

	"authorize.redirect_uri":  {"S1-127", "S2-11"},
	"authorize.parameters":    {"S1-127"},
	"authorize.request":       {"S1-127"},
	"authorize.scope":         {"C-13"},
	"authorize.response_type": {"S1-128"},
	"authorize.client":        {"S1-129", "S1-067", "S1-123", "S1-186"},
	"authorize.state":         {"S1-275"},
	"authorize.pkce":          {"S2-13"},
	"authorize.idp":           {"S1-236", "S1-237"},
	"authorize.openid":        {"S1-256"},
	"authorize.aud":           {"C-18"},

	"token.code":          {"S1-142", "S1-136"},
	"token.redirect_uri":  {"S1-143", "S1-167"},
	"token.code_verifier": {"S2-13"},
	"token.refresh_token": {"C-05", "S1-233"},
	"metadata.community":  {"S1-061"},
	"bearer.header":       {"C-01", "C-11", "S1-066"},
	"bearer.token":        {"C-11", "C-08", "S1-066"},
	"access.scope":        {"C-10"},
}

// shownBy are rows that a client shows when the destination's check passes, and that
// nothing else shows.
var shownBy = map[string]string{
	"chain.path":             "C-12",
	"token.scope":            "C-13",
	"register.scope":         "C-13",
	"registration.required":  "C-14",
	"certification.sub":      "C-15",
	"dpop.signature":         "C-16",
	"authorize.redirect_uri": "S1-127",
	"authorize.aud":          "C-18",
}

// byGrant are the same for checks whose rows differ by grant.
func byGrant(check string, r *request) []string {
	rows := rowsOf(cmp.Or(r.grant, tokenRequest{r}.likely()))
	switch check {
	case "client.udap":
		return []string{rows.version}
	case "client.authorization", "client.secret":
		return []string{rows.credentials}
	case "client.assertion":
		return []string{rows.assertion}
	case "client.assertion_type":
		return []string{rows.kind}
	case "request.method", "request.query", "request.type", "request.body":
		if r.place == token {
			return []string{rows.post}
		}
		if r.place == register {
			return []string{"S1-071"}
		}
	case "register.cancel":
		if r.found("S1-123") != nil {
			return []string{"S1-123"}
		}
	case "token.grant_type":
		return []string{"S1-141", "S1-225", "S1-232"}
	case "token.grant":
		return []string{"S1-185", "S1-186"}
	case "jws.alg":
		return algorithmRows(r)
	case "jws.signature":
		if r.found("S1-008") != nil { // by the wrong certificate nothing can be verified
			return []string{"S1-008"}
		}
		if r.doc != nil && r.doc.kind == statement {
			return []string{"S1-074"}
		}
		return []string{"S1-151"}
	}

	if rows, ok := decidedBy[check]; ok {
		return rows
	}
	family, _, _ := strings.Cut(check, ".")
	return families[family]
}

// families are the rows of checks that are all about one thing, by how their names
// begin.
var families = map[string][]string{
	"chain":         {"C-12", "S1-008"},
	"certification": {"C-15", "S1-020"},
	"dpop":          {"C-16"},
	"ias":           {"S1-198"},
	"user":          {"S1-198"},
}

// algorithmRows are the rows about alg: one that is allowed and does not fit the key
// is a mistake of the signer.
func algorithmRows(r *request) []string {
	if r.found("S1-007") != nil || r.doc == nil {
		return []string{"S1-007"}
	}
	if r.doc.kind == statement {
		return []string{"S1-073"}
	}
	return []string{"S1-151"}
}

// harmless are checks whose refusal is no mistake of the client, by name or by how
// the names of a family begin.
var harmless = []string{
	"request.limit", "request.current", "server.", "register.cancel", "register.certificate",
	"authorize.declined", "authorize.approval", "authorize.unchanged", "token.person", "token.extension",
	"access.consent", "access.labels", "access.resource", "job.room", "metadata.known",
	"signin.", "people.", "consent.", "tiered.", "launch.", "grants.", "cors.",
}

func isHarmless(check string) bool {
	return slices.ContainsFunc(harmless, func(h string) bool {
		return h == check || strings.HasSuffix(h, ".") && strings.HasPrefix(check, h)
	})
}

// decided adds what the destination decided: each step that refused or warned leads
// to the row that it is about, or to a hint.
func (r *request) decided() {
	for _, t := range r.Traces {
		if t == nil {
			continue
		}
		for _, s := range t.Steps {
			r.unregistered(s)
			if s.Verdict == trace.Warned || isRefusal(s) {
				r.decision(s)
			} else if row := shownBy[s.Check]; row != "" && s.Verdict == trace.Passed && !r.narrowed(row) {
				r.shows(row)
			}
		}
	}
}

// unregistered assesses, where the destination left scopes out, whether the client asked
// for ones that it has not registered (UDAP Security 2.0, 3.1: scope of the statement has
// what later requests ask for).
func (r *request) unregistered(s trace.Step) {
	asked := words(r.form.Get("scope"))
	refused, isList := strings.CutPrefix(s.Found, "not granted: ")
	switch {
	case s.Check == "authorize.scope" && s.Verdict == trace.Warned && isList:
		asked = words(r.parameter("scope"))
		left := words(refused)
		asked = slices.DeleteFunc(asked, func(w string) bool { return !slices.Contains(left, w) })
	case s.Check == "token.scope" && s.Verdict == trace.Passed && r.grant == clientGrant:
		// a wildcard is granted as what of it was registered (UDAP Security 2.0, 7.3)
		asked = slices.DeleteFunc(asked, func(w string) bool { return strings.Contains(w, "*") })
	default:
		return
	}

	last := r.lane.last
	if last == nil || len(last.scopes) == 0 || r.doc.has("scope") {
		return
	}
	have := append([]string{"udap"}, last.scopes...) // for udap see provider
	if s.Verdict == trace.Passed {
		have = append(have, words(s.Found)...) // as it was granted
	}
	extra := slices.DeleteFunc(asked, func(w string) bool { return slices.Contains(have, w) })
	if len(extra) == 0 {
		return
	}

	text := "a scope is asked for that the client has not registered: "
	if r.grant == clientGrant && personal(extra[0]) {
		text = "a scope about a person who signs in is asked for by client_credentials: "
	}
	r.violates("C-13", mistake{
		text:     text + trace.Cut(extra[0], maxShown),
		expected: trace.Cut(strings.Join(last.scopes, " "), maxShown),
		found:    trace.Cut(strings.Join(extra, " "), maxShown),
		remedy:   "ask for what the registration's answer has in scope, or register for more",
	})
}

// narrowed reports whether a row is that about scopes, and not all of those that were
// asked for were granted.
func (r *request) narrowed(row string) bool {
	asked := r.form.Get("scope")
	if r.place == register {
		asked = r.doc.text("scope")
	}
	granted, known := r.answer.Text("scope")
	if row != "C-13" || !known {
		return false
	}

	all := words(granted)
	return slices.ContainsFunc(words(asked), func(s string) bool { return !slices.Contains(all, s) })
}

// isRefusal reports whether a check refused, also where the decision went on after it.
func isRefusal(s trace.Step) bool {
	return s.Verdict == trace.Refused || s.Verdict == trace.Observed
}

// ended are the checks of tokens that a client may learn to have ended by using them.
// A nonce for a proof is learned by a refusal, too (RFC 9449 8).
var ended = []string{"bearer.token", "token.refresh_token"}

func (r *request) decision(s trace.Step) {
	if r.stale && slices.Contains(ended, s.Check) || s.Check == "dpop.nonce" {
		return
	}
	if s.Check == "access.resource" && r.Status == 404 {
		return // what a client asks for need not be there
	}

	rows := byGrant(s.Check, r)
	for _, id := range rows {
		if f := r.found(id); f != nil {
			complete(f, s)
			return
		}
	}

	f := conform.Finding{
		Verdict:  conform.Violated,
		Text:     text(s),
		Expected: s.Expected,
		Found:    s.Found,
		Remedy:   s.Remedy,
		Check:    s.Check,
	}
	if len(rows) > 0 {
		f.Row = rows[0]
	}
	of, _ := conform.Lookup(f.Row)
	mild := of.Level == "SHOULD" || strings.HasPrefix(f.Row, "TF-")
	if s.Verdict == trace.Warned || mild || isHarmless(s.Check) {
		f.Verdict = conform.Warned
	}
	r.add(f)
}

// text describes a step that did not pass: what was found, where no rule is broken.
func text(s trace.Step) string {
	switch {
	case s.Found == "":
		return "not met: " + s.Title
	case isHarmless(s.Check) && s.Found != "none":
		return s.Found
	}
	return "not met: " + s.Title + "; found " + s.Found
}
