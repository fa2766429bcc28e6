package udap

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// maxJTI bounds jti, in bytes.
const maxJTI = 512

// refuseClaim refuses for a claim.
func (val *validation) refuseClaim(c trace.Check, f trace.Finding) error {
	return val.tr.Refuse(c, val.kind.claims, f)
}

// audience checks aud: a string, or an array of exactly one. RFC 7519 allows longer
// arrays; draft-ietf-oauth-rfc7523bis wants a sole value, so that a JWT for one
// server cannot be used at another.
func (val *validation) audience(e *envelope) error {
	c, want := val.kind.checks.aud, val.exp.Audience
	values, ok := e.Claims.List("aud")
	if s, isText := e.Claims.Text("aud"); isText {
		one := [1]string{s}
		values, ok = one[:], true
	}

	switch {
	case !ok || want == "":
		return val.refuseClaim(c, trace.Finding{
			Expected: want,
			Found:    e.Claims.Show("aud"),
			Remedy:   "aud is a string, or an array of exactly one",
			Final:    true,
		})

	case len(values) != 1:
		return val.refuseClaim(c, trace.Finding{
			Expected: "exactly " + want,
			Found:    fmt.Sprintf("%d values: %s", len(values), trace.Cut(strings.Join(values, " "), 300)),
			Remedy:   "send that one URL alone",
			Final:    !val.exp.nearlyOurs(values),
		})

	case slices.Contains(val.exp.Tolerated, values[0]):
		val.tr.Warn(c, trace.Finding{
			Expected: want,
			Found:    values[0] + ", the " + val.exp.OurURLs[values[0]],
			Remedy:   "accepted because it names this server (RFC 7523 3); a stricter server wants the URL posted to",
		})

		return nil

	case values[0] != want:
		return val.refuseClaim(c, trace.Finding{
			Expected: want,
			Found:    values[0],
			Remedy:   val.audienceHint(values[0]),
			Final:    !val.exp.nearlyOurs(values),
		})
	}

	val.tr.Pass(c, want, values[0])
	return nil
}

// nearlyOurs reports whether one of the values of aud names this server, if in another
// form than it must have. A JWT that is for another server alone is for nobody here to
// use, however much is tolerated: who gets to see it there could bring it here.
func (x Expect) nearlyOurs(values []string) bool {
	for _, v := range values {
		for ours := range x.OurURLs {
			if place := placeOf(ours); place != "" && placeOf(v) == place {
				return true
			}
		}
	}
	return false
}

// placeOf returns host and path of a URL without scheme, port, case and slashes at its
// end; empty: it is no URL.
func placeOf(text string) string {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Hostname() == "" {
		return ""
	}
	return strings.ToLower(u.Hostname() + strings.TrimRight(u.EscapedPath(), "/"))
}

func (val *validation) audienceHint(got string) string {
	for ours, what := range val.exp.OurURLs {
		if got == ours || strings.TrimRight(got, "/") == strings.TrimRight(ours, "/") {
			if ours != val.exp.Audience &&
				strings.TrimRight(ours, "/") != strings.TrimRight(val.exp.Audience, "/") {
				return fmt.Sprintf("this is the %s here; URLs are compared as case-sensitive strings", what)
			}
		}
	}

	return difference(val.exp.Audience, got) + "; URLs are compared as case-sensitive strings"
}

// maxDigits bounds the digits of a NumericDate.
const maxDigits = 18

// isInteger reports whether a JSON number has the one form of NumericDate that is
// accepted: whole seconds. A fraction could round a lifetime up; no client in the field
// sends one.
func isInteger(v []byte) bool {
	for _, c := range v {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(v) <= maxDigits
}

// lastSecond is the last one that RFC 3339 can write.
const lastSecond = 253402300799

// numericDate parses one claim; wrong describes why it cannot.
func numericDate(o jose.Object, name string) (t time.Time, wrong string) {
	v, ok := o[name]
	switch {
	case !ok:
		return time.Time{}, o.Show(name)
	case v.Kind() == '"':
		return time.Time{}, fmt.Sprintf("the string %s; %s is a JSON number", trace.Cut(string(v), 60), name)
	case v.Kind() != '0':
		return time.Time{}, o.Show(name)
	case !isInteger(v):
		return time.Time{}, fmt.Sprintf("%s, which is no whole number of seconds", trace.Cut(string(v), 60))
	}

	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n > lastSecond {
		return time.Time{}, fmt.Sprintf("%s, which is no date%s", trace.Cut(string(v), 60), millisHint(n))
	}
	if n > 100_000_000_000 {
		return time.Time{}, fmt.Sprintf("%d%s", n, millisHint(n))
	}

	return time.Unix(n, 0), ""
}

func millisHint(n int64) string {
	if n > 1_000_000_000_000 && n < 10_000_000_000_000 {
		return " (it looks like milliseconds; NumericDate counts seconds, RFC 7519 2)"
	}
	return " (NumericDate counts seconds since 1970, RFC 7519 2)"
}

// times checks exp, iat, their distance, and nbf.
func (val *validation) times(e *envelope, out *Verified) error {
	skew := out.Community.Policy.ClockSkew()
	err := val.tr.Independent(
		func() error {
			return val.date(e, val.kind.checks.exp, "exp", &out.Expires)
		},
		func() error {
			return val.date(e, val.kind.checks.iat, "iat", &out.IssuedAt)
		},
	)
	if err != nil {
		return err
	}

	if !out.Expires.IsZero() && !out.IssuedAt.IsZero() { // else it is noted that they are not there
		err = val.tr.Independent(
			func() error { return val.lifetime(out.Expires, out.IssuedAt) },
			func() error { return val.notExpired(out, skew) },
			func() error { return val.issued(out.IssuedAt, skew) },
			func() error { return val.notBefore(e, skew) },
		)
	}

	if val.tr.Observes() {
		out.remember(val.exp.Now, skew)
	}
	return err
}

// observedMemory is how long an observing destination remembers a jti: longer than
// anybody lets one observe. It accepts JWTs that have expired, which must not become
// usable again when their jti is forgotten.
const observedMemory = 366 * 24 * time.Hour

// remember gives a JWT that is observed times by which its jti is remembered,
// whatever times it has itself.
func (v *Verified) remember(now time.Time, skew time.Duration) {
	if v.IssuedAt.Before(now.Add(-observedMemory)) || v.IssuedAt.After(now.Add(skew)) {
		v.IssuedAt = now
	}
	v.Expires = now.Add(observedMemory)
}

// date reads a claim that is a NumericDate.
func (val *validation) date(e *envelope, c trace.Check, name string, into *time.Time) error {
	t, wrong := numericDate(e.Claims, name)
	if wrong != "" {
		return val.refuseClaim(c, trace.Finding{
			Expected: name + " in whole seconds since 1970",
			Found:    wrong,
		})
	}

	*into = t
	return nil
}

func (val *validation) notExpired(out *Verified, skew time.Duration) error {
	c, now, exp := val.kind.checks.exp, val.exp.Now, out.Expires
	if !now.Before(exp.Add(skew)) {
		return val.refuseClaim(c, trace.Finding{
			Expected: "exp after " + trace.Stamp(now),
			Found:    trace.Stamp(exp) + ", " + now.Sub(exp).Round(time.Second).String() + " ago",
			Remedy:   expiredRemedy(now.Sub(out.IssuedAt)),
		})
	}

	val.tr.Pass(c, trace.Stamped("after ", now), trace.Stamp(exp))
	return nil
}

// expiredRemedy is for a JWT of that age, by its iat.
func expiredRemedy(age time.Duration) string {
	remedy := "sign a new one for each request, and check the clock"
	if age < time.Second {
		return remedy
	}
	return remedy + ": if this one was new, your clock is " + seconds(age.Round(time.Second)) + " behind ours"
}

func (val *validation) lifetime(exp, iat time.Time) error {
	c, life := val.kind.checks.lifetime, exp.Sub(iat)
	f := trace.Finding{
		Expected: val.kind.lifeShown,
		Found:    seconds(life),
	}
	switch {
	case life <= 0:
		f.Remedy = "exp is not after iat (an example in the guide has them the wrong way round)"
		return val.refuseClaim(c, f)
	case life > val.kind.life:
		f.Remedy = "let exp be iat plus " + seconds(val.kind.life) + " or less"
		return val.refuseClaim(c, f)
	}

	val.tr.Pass(c, f.Expected, f.Found)
	return nil
}

func seconds(d time.Duration) string {
	var b [32]byte
	return string(append(strconv.AppendInt(b[:0], int64(d/time.Second), 10), " s"...))
}

func (val *validation) issued(iat time.Time, skew time.Duration) error {
	c, now := val.kind.checks.iat, val.exp.Now
	ahead := iat.Sub(now)
	f := trace.Finding{
		Expected: trace.Stamped("iat not after ", now),
		Found:    trace.Stamp(iat),
	}
	if ahead >= time.Second {
		f.Remedy = "your clock is " + seconds(ahead.Round(time.Second)) + " ahead of ours"
	}

	switch {
	case ahead > skew:
		f.Expected += " (allowance " + seconds(skew) + ")"
		return val.refuseClaim(c, f)
	case ahead >= time.Second:
		val.tr.Warn(c, f)
	default:
		val.tr.Pass(c, f.Expected, f.Found)
	}

	return nil
}

func (val *validation) notBefore(e *envelope, skew time.Duration) error {
	c := val.kind.checks.nbf
	if !e.Claims.Has("nbf") {
		return nil
	}

	nbf, wrong := numericDate(e.Claims, "nbf")
	switch {
	case wrong != "":
		return val.refuseClaim(c, trace.Finding{
			Expected: "nbf in whole seconds since 1970",
			Found:    wrong,
		})

	case nbf.After(val.exp.Now.Add(skew)):
		return val.refuseClaim(c, trace.Finding{
			Expected: "nbf not after " + trace.Stamp(val.exp.Now),
			Found:    trace.Stamp(nbf),
		})
	}

	val.tr.Pass(c, "not after "+trace.Stamp(val.exp.Now), trace.Stamp(nbf))
	return nil
}

// identifier checks jti. Whether it was used before is for the caller to check.
func (val *validation) identifier(e *envelope, out *Verified) error {
	jti, ok := e.Claims.Text("jti")
	if !ok || jti == "" || len(jti) > maxJTI {
		return val.refuseClaim(val.kind.checks.jti, trace.Finding{
			Expected: fmt.Sprintf("jti as a string of 1 to %d bytes", maxJTI),
			Found:    e.Claims.Show("jti"),
		})
	}

	out.JTI = jti
	val.tr.Pass(val.kind.checks.jti, "a string", jti)
	return nil
}

// common checks the claims that every JWT has after its names: aud, times, jti.
func (val *validation) common(e *envelope, out *Verified) error {
	return val.tr.Independent(
		func() error { return val.audience(e) },
		func() error { return val.times(e, out) },
		func() error { return val.identifier(e, out) },
	)
}
