package udap

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

const (
	maxJTI     = 512
	defaultGap = time.Minute // the allowance for clocks when a policy names none
)

// skew is the allowance for clocks.
func (p Policy) skew() time.Duration {
	switch {
	case p.Skew == 0:
		return defaultGap
	case p.Skew < 0:
		return 0
	}
	return p.Skew
}

// refuseClaim refuses for a claim.
func (j *judgement) refuseClaim(c trace.Check, f trace.Finding) error {
	return j.tr.Refuse(c, j.kind.claims, f)
}

// audience judges aud: a string, or an array of exactly one (DESIGN.md; UDAP
// allows arrays, draft-ietf-oauth-rfc7523bis wants a sole value).
func (j *judgement) audience(e *envelope) error {
	c, want := j.kind.checks.aud, j.exp.Audience
	values, ok := e.Claims.List("aud")
	if s, isText := e.Claims.Text("aud"); isText {
		values, ok = []string{s}, true
	}

	switch {
	case !ok || want == "":
		return j.refuseClaim(c, trace.Finding{
			Expected: want,
			Found:    e.Claims.Show("aud"),
			Remedy:   "aud is a string, or an array of exactly one",
		})

	case len(values) != 1:
		return j.refuseClaim(c, trace.Finding{
			Expected: "exactly " + want,
			Found:    fmt.Sprintf("%d values: %s", len(values), trace.Cut(strings.Join(values, " "), 300)),
			Remedy:   "send that one URL alone",
		})

	case values[0] != want:
		return j.refuseClaim(c, trace.Finding{
			Expected: want,
			Found:    values[0],
			Remedy:   j.audienceHint(values[0]),
		})
	}

	j.tr.Pass(c, want, values[0])
	return nil
}

func (j *judgement) audienceHint(got string) string {
	for ours, what := range j.exp.OurURLs {
		if got == ours || strings.TrimRight(got, "/") == strings.TrimRight(ours, "/") {
			if ours != j.exp.Audience && strings.TrimRight(ours, "/") != strings.TrimRight(j.exp.Audience, "/") {
				return fmt.Sprintf("this is the %s here; URLs are compared as case-sensitive strings", what)
			}
		}
	}
	return difference(j.exp.Audience, got) + "; URLs are compared as case-sensitive strings"
}

// integer is the one form of NumericDate that is accepted: whole seconds. A
// fraction could round a lifetime up; no client in the field sends one.
var integer = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)

// lastSecond is the last one that RFC 3339 can write.
const lastSecond = 253402300799

// numericDate reads one claim, and says what is wrong with it.
func numericDate(o jose.Object, name string) (time.Time, string) {
	v, ok := o[name]
	switch {
	case !ok:
		return time.Time{}, o.Show(name)
	case v.Kind() == '"':
		return time.Time{}, fmt.Sprintf("the string %s; %s is a JSON number", trace.Cut(string(v), 60), name)
	case v.Kind() != '0':
		return time.Time{}, o.Show(name)
	case !integer.Match(v):
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

// times judges exp, iat, their distance, and nbf.
func (j *judgement) times(e *envelope, out *Verified) error {
	k, now, skew := j.kind.checks, j.exp.Now, out.Community.Policy.skew()
	exp, wrong := numericDate(e.Claims, "exp")
	if wrong != "" {
		return j.refuseClaim(k.exp, trace.Finding{
			Expected: "exp in whole seconds since 1970",
			Found:    wrong,
		})
	}

	iat, wrong := numericDate(e.Claims, "iat")
	if wrong != "" {
		return j.refuseClaim(k.iat, trace.Finding{
			Expected: "iat in whole seconds since 1970",
			Found:    wrong,
		})
	}

	out.Expires, out.IssuedAt = exp, iat
	if err := j.lifetime(exp, iat); err != nil {
		return err
	}
	if !now.Before(exp.Add(skew)) {
		return j.refuseClaim(k.exp, trace.Finding{
			Expected: "exp after " + stamp(now),
			Found:    stamp(exp) + ", " + now.Sub(exp).Round(time.Second).String() + " ago",
			Remedy:   "sign a new one for each request, and check the clock",
		})
	}

	j.tr.Pass(k.exp, "after "+stamp(now), stamp(exp))
	if err := j.issued(iat, skew); err != nil {
		return err
	}
	return j.notBefore(e, skew)
}

func (j *judgement) lifetime(exp, iat time.Time) error {
	c, life := j.kind.checks.lifetime, exp.Sub(iat)
	f := trace.Finding{
		Expected: "exp after iat by at most " + seconds(j.kind.life),
		Found:    seconds(life),
	}
	switch {
	case life <= 0:
		f.Remedy = "exp is not after iat (an example in the guide has them the wrong way round)"
		return j.refuseClaim(c, f)
	case life > j.kind.life:
		f.Remedy = "let exp be iat plus " + seconds(j.kind.life) + " or less"
		return j.refuseClaim(c, f)
	}

	j.tr.Pass(c, f.Expected, f.Found)
	return nil
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) + " s" }

func (j *judgement) issued(iat time.Time, skew time.Duration) error {
	c, now := j.kind.checks.iat, j.exp.Now
	ahead := iat.Sub(now)
	f := trace.Finding{Expected: "iat not after " + stamp(now), Found: stamp(iat)}
	if ahead >= time.Second {
		f.Remedy = "your clock is " + seconds(ahead.Round(time.Second)) + " ahead of ours"
	}

	switch {
	case ahead > skew:
		f.Expected += " (allowance " + seconds(skew) + ")"
		return j.refuseClaim(c, f)
	case ahead >= time.Second:
		j.tr.Warn(c, f)
	default:
		j.tr.Pass(c, f.Expected, f.Found)
	}

	return nil
}

func (j *judgement) notBefore(e *envelope, skew time.Duration) error {
	c := j.kind.checks.nbf
	if !e.Claims.Has("nbf") {
		return nil
	}

	nbf, wrong := numericDate(e.Claims, "nbf")
	switch {
	case wrong != "":
		return j.refuseClaim(c, trace.Finding{
			Expected: "nbf in whole seconds since 1970",
			Found:    wrong,
		})

	case nbf.After(j.exp.Now.Add(skew)):
		return j.refuseClaim(c, trace.Finding{
			Expected: "nbf not after " + stamp(j.exp.Now),
			Found:    stamp(nbf),
		})
	}

	j.tr.Pass(c, "not after "+stamp(j.exp.Now), stamp(nbf))
	return nil
}

// identifier judges jti; whether it was seen before is for whoever stores it.
func (j *judgement) identifier(e *envelope, out *Verified) error {
	jti, ok := e.Claims.Text("jti")
	if !ok || jti == "" || len(jti) > maxJTI {
		return j.refuseClaim(j.kind.checks.jti, trace.Finding{
			Expected: fmt.Sprintf("jti as a string of 1 to %d bytes", maxJTI),
			Found:    e.Claims.Show("jti"),
		})
	}
	out.JTI = jti
	j.tr.Pass(j.kind.checks.jti, "a string", jti)
	return nil
}

// common judges the claims that every JWT has after its names: aud, times, jti.
func (j *judgement) common(e *envelope, out *Verified) error {
	if err := j.audience(e); err != nil {
		return err
	}
	if err := j.times(e, out); err != nil {
		return err
	}
	return j.identifier(e, out)
}
