package assess

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"fhirdest.example/udap/jose"
)

// jwts assesses the JWTs that clients send.
type jwts struct{ *Assessor }

// envelope assesses the form, the header and the certificates of a JWT (UDAP
// Security 2.0, 7.1).
func (a jwts) envelope(r *request) {
	d := r.doc
	if d.jws == nil {
		r.unreadable()
		return
	}

	r.shows("S1-001", "S1-002", "S1-003")
	alg, known := d.jws.Header.Text("alg")
	switch {
	case !known:
		r.violates("S1-007", mistake{
			text:     "the header of the " + string(d.kind) + " has no alg",
			expected: strings.Join(jose.Algorithms(), ", "),
			found:    d.jws.Header.Show("alg"),
			remedy:   "name the algorithm of the signature",
		})
	case isNone(alg):
		r.unsigned(alg)
	case !slices.Contains(jose.Algorithms(), alg):
		r.violates("S1-007", mistake{
			text:     "the header of the " + string(d.kind) + " has an algorithm that UDAP does not allow",
			expected: strings.Join(jose.Algorithms(), ", "),
			found:    quote(alg),
			remedy:   "sign with RS256 or ES256",
		})
	default:
		r.shows("S1-007")
		a.signs(r, alg)
	}

	a.chain(r)
}

// isNone reports whether alg is that of JWTs without a signature (RFC 7518 3.6), in
// any case of letters.
func isNone(alg string) bool { return strings.EqualFold(alg, "none") }

// unsigned records that a JWT has alg none, with or without bytes in place of a
// signature.
func (r *request) unsigned(alg string) {
	r.violates("S1-007", mistake{
		text:     "the " + string(r.doc.kind) + " is not signed: the alg of its header is none",
		expected: strings.Join(jose.Algorithms(), ", "),
		found:    quote(alg),
		remedy:   "sign with RS256 or ES256",
	})
}

// signs assesses the signature by what the destination decided about it.
func (a jwts) signs(r *request, alg string) {
	if !r.passed("jws.signature") {
		return
	}

	switch alg {
	case "RS256":
		r.shows("S1-004")
	case "ES256":
		r.shows("S1-005")
	default:
		r.shows("S1-006")
	}
	if r.doc.kind == statement {
		r.shows("S1-073", "S1-074")
	} else {
		r.shows("S1-151")
	}
}

// forged reports whether the destination found that the signature is not the
// client's: then the claims are not its own.
func (r *request) forged() bool { return r.refused("jws.signature") }

// unreadable assesses a JWT that could not be decoded.
func (r *request) unreadable() {
	d := r.doc
	trimmed := strings.TrimSpace(d.raw)
	found := d.fault.Found
	switch n := strings.Count(d.raw, ".") + 1; {
	case strings.HasPrefix(trimmed, "{"):
		r.violates("S1-003", mistake{
			text:     "the " + string(d.kind) + " has the JSON serialization",
			expected: "three segments with dots between (RFC 7515 7.1)",
			found:    "a JSON object",
			remedy:   "send the compact serialization",
		})
	case n == 5:
		r.violates("S1-003", mistake{
			text:     "the " + string(d.kind) + " is encrypted, not signed",
			expected: "a signed JWT of three segments",
			found:    "five segments, as of a JWE",
			remedy:   "sign it, and do not encrypt it",
		})
	case n != 3:
		r.violates("S1-003", mistake{
			text:     "the " + string(d.kind) + " does not have three segments",
			expected: "three segments with dots between (RFC 7515 7.1)",
			found:    fmt.Sprint(n),
			remedy:   d.fault.Remedy,
		})
	case strings.Contains(d.fault.Expected, "payload") || strings.Contains(found, "payload"):
		r.violates("S1-001", mistake{
			text:     "the claims of the " + string(d.kind) + " cannot be read",
			expected: d.fault.Expected,
			found:    found,
			remedy:   d.fault.Remedy,
		})
	case isNone(d.header("alg")):
		r.unsigned(d.header("alg"))
	default:
		r.violates("S1-002", mistake{
			text:     "the " + string(d.kind) + " is not a JWS as RFC 7515 has it",
			expected: d.fault.Expected,
			found:    found,
			remedy:   d.fault.Remedy,
		})
	}
}

// chain assesses x5c.
func (a jwts) chain(r *request) {
	d := r.doc
	header := d.jws.Header
	if header.Has("jku") && d.kind == statement {
		r.violates("S2-24", mistake{
			text:     "a software statement has jku in place of x5c, which is for authentication tokens alone",
			expected: "x5c",
			found:    "jku",
			remedy:   "send the chain in x5c when registering",
		})
		return
	}

	switch {
	case !header.Has("x5c") && header.Has("jku"):
		r.shows("S2-24")
	case d.certFault != nil:
		text := "x5c of the " + string(d.kind) + " cannot be read: " + d.certFault.Found
		switch {
		case !header.Has("x5c"):
			text = "the header of the " + string(d.kind) + " has no x5c"
		case header.Kind("x5c") != "array":
			text = "x5c of the " + string(d.kind) + " is " + kindOf(header, "x5c") + ", not an array"
		}
		r.violates("S1-008", mistake{
			text:     text,
			expected: d.certFault.Expected,
			found:    d.certFault.Found,
			remedy:   d.certFault.Remedy,
		})
	case d.certs[0].IsCA:
		r.violates("S1-008", mistake{
			text:     "the first certificate in x5c is a CA's, not the client's",
			expected: "the client's certificate first",
			found:    jose.CertName(d.certs[0]),
			remedy:   "turn x5c round: the leaf is first, then its issuers",
		})
	default:
		r.shows("S1-008")
	}
}

// algorithm returns alg of a JWT; empty if it has none.
func algorithm(d *document) string {
	alg, _ := d.jws.Header.Text("alg")
	return alg
}

// audience assesses aud against the endpoint at which the JWT arrived.
func (a jwts) audience(r *request, row, endpoint string) {
	d := r.doc
	want := a.endpoint(r, endpoint)
	aud, one := d.jws.Claims.Text("aud")
	if list, ok := d.list("aud"); ok && len(list) == 1 {
		aud, one = list[0], true
	}

	switch {
	case !d.has("aud"):
		r.violates(row, mistake{
			text:     "the " + string(d.kind) + " has no aud",
			expected: want,
			found:    "no aud",
			remedy:   "add the URL of the " + endpoint + " endpoint",
		})
	case r.passed(string(checkPrefix(d.kind)) + ".aud"):
		r.shows(row)
	case !one || aud != want && want != "":
		r.violates(row, mistake{
			text:     "aud of the " + string(d.kind) + " " + a.otherAudience(d, aud, want, endpoint),
			expected: want,
			found:    d.shown("aud"),
			remedy:   "aud is the URL to which the JWT is sent, byte for byte",
		})
	default:
		r.shows(row)
	}
}

// otherAudience describes how aud differs from the URL of an endpoint.
func (a jwts) otherAudience(d *document, aud, want, endpoint string) string {
	list, isList := d.list("aud")
	switch {
	case isList && len(list) != 1:
		return fmt.Sprintf("has %d values, not the %s endpoint alone", len(list), endpoint)
	case aud == "":
		return "is no URL, not the " + endpoint + " endpoint"
	case strings.TrimSuffix(aud, "/") == want:
		return "is the " + endpoint + " endpoint with a slash at its end"
	case strings.EqualFold(aud, want):
		return "is the " + endpoint + " endpoint in other upper and lower case"
	}
	return "is " + a.urlName(aud) + ", not the " + endpoint + " endpoint"
}

// checkPrefix is how the names of the destination's checks of a JWT begin.
func checkPrefix(k kind) string {
	if k == statement {
		return "statement"
	}
	return "assertion"
}

// endpoint returns the URL of an endpoint as the client was given it.
func (a jwts) endpoint(r *request, name string) string {
	if m := r.lane.announced; m != nil && m.whole {
		if u := m.endpoint(name + "_endpoint"); u != "" {
			return u
		}
	}
	if a.set.Issuer == "" {
		return ""
	}
	if name == "registration" {
		return a.set.Issuer + "/register"
	}
	return a.set.Issuer + "/" + name
}

// urlName describes a URL that is one of the destination's.
func (a jwts) urlName(u string) string {
	switch strings.TrimSuffix(u, "/") {
	case a.set.Issuer + "/token":
		return "the token endpoint"
	case a.set.Issuer + "/register":
		return "the registration endpoint"
	case a.set.Issuer + "/authorize":
		return "the authorization endpoint"
	case a.set.Issuer:
		return "the issuer"
	case a.set.Base:
		return "the FHIR base"
	}
	return "another URL"
}

// timeRows are the rows about the times of a JWT.
type timeRows struct {
	exp, expired, iat, lifetime string
	check                       string // how the destination's checks begin
}

const (
	maxLifetime  = 300  // seconds; UDAP Security 2.0, 3.1 and 4.2.1
	milliseconds = 1e11 // a NumericDate beyond it is in milliseconds
)

// times assesses iat and exp against each other and the time of receipt.
func (a jwts) times(r *request, rows timeRows) {
	d := r.doc
	exp, hasExp := r.time(rows.exp, "exp")
	iat, hasIat := r.time(rows.iat, "iat")
	received := float64(r.Received.UnixMilli()) / 1000

	if hasExp {
		a.expiry(r, rows, exp, received)
	}
	if hasIat {
		a.issue(r, rows, iat, received)
	}
	if !hasExp || !hasIat {
		return
	}

	switch life := exp - iat; {
	case life < 0:
		r.violates(rows.exp, mistake{
			text:     "exp of the " + string(d.kind) + " is before iat",
			expected: "exp after iat",
			found:    fmt.Sprintf("%.0f seconds before it", -life),
		})
	case life > maxLifetime:
		r.violates(rows.lifetime, mistake{
			text:     "the " + string(d.kind) + " lives for more than five minutes",
			expected: "exp at most 300 seconds after iat",
			found:    fmt.Sprintf("%.0f seconds", life),
			remedy:   "shorten exp",
		})
	default:
		r.shows(rows.lifetime)
	}
}

// time returns a time of a JWT, and records what is wrong with its form.
func (r *request) time(row, claim string) (seconds float64, ok bool) {
	d := r.doc
	seconds, ok = d.number(claim)
	switch {
	case !d.has(claim):
		r.violates(row, mistake{
			text:     "the " + string(d.kind) + " has no " + claim,
			expected: claim + ", in seconds since 1970",
			found:    "no " + claim,
			remedy:   "add " + claim,
		})
		return 0, false
	case !ok:
		r.violates(row, mistake{
			text:     claim + " of the " + string(d.kind) + " is not a number",
			expected: "a number of seconds since 1970",
			found:    d.shown(claim),
			remedy:   "write the number without quotes",
		})
		return 0, false
	case seconds > milliseconds:
		r.violates(row, mistake{
			text:     claim + " of the " + string(d.kind) + " is in milliseconds",
			expected: "seconds since 1970",
			found:    d.shown(claim),
			remedy:   "divide by 1000",
		})
		return 0, false
	}

	if seconds != math.Trunc(seconds) {
		r.violates(row, mistake{
			text:     claim + " of the " + string(d.kind) + " is no whole number",
			expected: "whole seconds since 1970",
			found:    d.shown(claim),
			remedy:   "round it",
		})
		return 0, false
	}

	return seconds, true
}

// allowance is what clocks may differ by where the destination did not decide.
const allowance = 60

func (a jwts) expiry(r *request, rows timeRows, exp, received float64) {
	late := received - exp
	if r.passed(rows.check + ".exp") {
		late = 0
	}
	if late <= allowance {
		if r.found(rows.exp) == nil {
			r.shows(rows.exp)
		}
		if rows.expired != rows.exp {
			r.shows(rows.expired)
		}
		return
	}

	r.violates(rows.expired, mistake{
		text:     fmt.Sprintf("the %s had expired %.0f seconds before it arrived", r.doc.kind, late),
		expected: "exp in the future",
		found:    r.doc.shown("exp"),
		remedy:   "make a new one for each request, and set the clock",
	})
}

func (a jwts) issue(r *request, rows timeRows, iat, received float64) {
	early := iat - received
	if r.passed(rows.check + ".iat") {
		early = 0
	}
	if early <= allowance {
		r.shows(rows.iat)
		return
	}

	r.violates(rows.iat, mistake{
		text:     fmt.Sprintf("iat of the %s is %.0f seconds in the future", r.doc.kind, early),
		expected: "iat in the past",
		found:    r.doc.shown("iat"),
		remedy:   "set the client's clock",
	})
}

// identifier assesses jti: present, and not used before while it lives.
func (a jwts) identifier(r *request, present, once string) {
	d := r.doc
	jti := d.text("jti")
	if jti == "" {
		text := "the " + string(d.kind) + " has no jti"
		switch kind := d.jws.Claims.Kind("jti"); {
		case kind == "string":
			text = "jti of the " + string(d.kind) + " is empty"
		case d.has("jti"):
			text = "jti of the " + string(d.kind) + " is " + kindOf(d.jws.Claims, "jti") + ", not a string"
		}
		r.violates(present, mistake{
			text:     text,
			expected: "jti, a string that is new each time",
			found:    d.shown("jti"),
			remedy:   "add a random jti",
		})
		return
	}

	r.shows(present)
	key := d.text("iss") + " " + jti
	if d.thumb != "" {
		key = d.thumb + " " + jti
	}
	key = digest(key)
	now := used{
		kind: d.kind,
		n:    r.N,
		raw:  digest(d.raw),
		done: r.succeeded(),
	}
	now.exp, _ = d.number("exp")

	before, ok := a.jtis.get(key)
	over := before.exp != 0 && before.exp < float64(r.Received.Unix())
	if !ok || over {
		r.shows(once)
		a.jtis.set(key, now)
		return
	}

	raw := now.raw
	if before.raw == raw && !before.done {
		a.jtis.set(key, now)
		return // the same request again after one that had no result
	}
	same := "the same jti was in a " + string(before.kind) + " before"
	if before.raw == raw {
		same = "the same " + string(d.kind) + " was sent before"
	}
	r.violates(once, mistake{
		text:     same,
		expected: "a jti that is new for each JWT",
		found:    fmt.Sprintf("%s, first in exchange %d", quote(jti), before.n),
		remedy:   "make a new JWT with a random jti for each request",
	})
}

// digest names a value that a client chose, so that it needs little room.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// digestOf names the client metadata of a statement: all but what each statement has
// anew.
func digestOf(d *document) string {
	var parts []string
	for name, v := range d.jws.Claims {
		switch name {
		case "iat", "exp", "jti", "nbf":
		default:
			parts = append(parts, name+"="+string(v))
		}
	}
	slices.Sort(parts)
	return digest(strings.Join(parts, "\n"))
}
