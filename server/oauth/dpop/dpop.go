// Package dpop verifies DPoP proofs (RFC 9449): that a request was made by the
// holder of a key, for this very method, URL and access token, just now. That a
// proof is used once is for the store in which its effect is recorded.
package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// The checks of a proof, in the order in which they are made (RFC 9449 4.3). JTI,
// Bound and Key are for callers, which know what was used before and what is bound to a key.
var (
	checkHeader = trace.NewCheck("dpop.header", "One header DPoP has the proof", "")
	checkForm   = trace.NewCheck("dpop.form",
		"The proof is a JWT of typ dpop+jwt, with a listed algorithm and a public key", "")
	checkSignature = trace.NewCheck("dpop.signature", "The proof is signed by the key that it has", "")
	checkMethod    = trace.NewCheck("dpop.htm", "The proof is for the request's method", "")
	checkURL       = trace.NewCheck("dpop.htu", "The proof is for the request's URL as the client knows it", "")
	checkTime      = trace.NewCheck("dpop.iat", "The proof was made just now", "")
	checkID        = trace.NewCheck("dpop.id", "The proof has an identifier of its own", "")
	checkToken     = trace.NewCheck("dpop.ath", "The proof is for the access token beside it", "")
	checkNonce     = trace.NewCheck("dpop.nonce", "The proof has a nonce of this server, where it demands one", "")

	JTI   = trace.NewCheck("dpop.jti", "The proof was not used before", "")
	Bound = trace.NewCheck("dpop.bound",
		"The request has a proof, where the client or the grant has tokens that are bound to a key", "")
	Key = trace.NewCheck("dpop.key", "The proof is by the key to which the token, code or client is bound", "")
)

// Window is when a proof is accepted: from its iat less Ahead to its iat plus
// Behind. A client's clock may differ by a minute, and a request may be on its way
// for another one.
const (
	Ahead  = time.Minute
	Behind = 2 * time.Minute
)

const (
	maxProof = 8 << 10 // bytes: a key and a signature of RSA-8192 are half of that
	maxJTI   = 256     // bytes
	maxHTU   = 8 << 10 // bytes
)

// Algorithms are the signature algorithms of proofs that are accepted.
func Algorithms() []string { return jose.Algorithms() }

// Expect is what a proof must fit.
type Expect struct {
	Method string
	URL    string // under the public base, as the client knows it; without query
	Now    time.Time

	AccessToken string  // that the request presents; empty at the token endpoint
	Nonces      *Nonces // whose nonces the proof must have; nil: none is demanded
}

// Proof is a proof that was verified. Only Verify makes one.
type Proof struct {
	Thumbprint string // of the key, for cnf.jkt (RFC 9449 6.1)
	JTI        string
	IssuedAt   time.Time
}

// verification is one proof on its way.
type verification struct {
	e   Expect
	tr  *trace.Trace
	jws *jose.JWS
	out Proof
}

// Verify verifies the proof in the values of a request's DPoP headers. Its error is
// a *trace.Error with the code invalid_dpop_proof, or use_dpop_nonce when a new
// nonce is all that is missing. The proof's jti must then be used up.
func Verify(values []string, e Expect, tr *trace.Trace) (*Proof, error) {
	v := &verification{e: e, tr: tr}
	if len(values) != 1 {
		return nil, v.refuse(checkHeader, trace.Finding{
			Expected: "one header DPoP",
			Found:    strconv.Itoa(len(values)),
		})
	}

	if err := v.open(values[0]); err != nil {
		return nil, err
	}

	err := tr.Collect(v.method, v.url, v.time, v.id, v.token)
	if err == nil {
		err = v.nonce() // last: it alone asks the client to try the same again
	}
	if err != nil {
		return nil, err
	}
	return &v.out, nil
}

func (v *verification) refuse(c trace.Check, f trace.Finding) error {
	return v.tr.Refuse(c, trace.InvalidDPoPProof, f)
}

func (v *verification) refuseFault(c trace.Check, f *jose.Fault) error {
	return v.refuse(c, trace.Finding{
		Expected: f.Expected,
		Found:    f.Found,
		Remedy:   f.Remedy,
		Err:      f.Err,
	})
}

// open decodes a proof and verifies its signature by the key that it has.
func (v *verification) open(compact string) error {
	if len(compact) > maxProof {
		return v.refuse(checkForm, trace.Finding{
			Expected: fmt.Sprintf("a proof of at most %d bytes", maxProof),
			Found:    fmt.Sprintf("%d bytes", len(compact)),
		})
	}

	jws, f := jose.Open(compact, nil)
	if f == nil {
		f = jws.CheckHeader(jose.HeaderRules{
			Types:        []string{"dpop+jwt"},
			TypeRequired: true,
			Forbidden:    []string{"x5c", "x5u", "jku"}, // nobody else may seem to have signed
		})
	}
	if f == nil {
		f = jws.CheckAlgorithm()
	}
	if f != nil {
		return v.refuseFault(checkForm, f)
	}

	jwk, err := jose.ParseObject(jws.Header["jwk"])
	if err != nil {
		return v.refuse(checkForm, trace.Finding{
			Expected: "the header jwk with the public key",
			Found:    jws.Header.Show("jwk"),
			Err:      err,
		})
	}

	pub, f := jose.DecodeKey(jwk)
	if f != nil {
		return v.refuseFault(checkForm, f)
	}
	if f := jws.VerifyKey(pub); f != nil {
		return v.refuseFault(checkSignature, f)
	}

	key, err := jose.EncodeKey(pub)
	if err != nil {
		return v.refuse(checkForm, trace.Finding{
			Found: "a key that has no JWK",
			Err:   err,
		})
	}

	v.jws, v.out.Thumbprint = jws, key.Thumbprint()
	v.tr.Pass(checkForm, "typ dpop+jwt and a public key", jws.Algorithm+", "+jose.KeyName(pub))
	v.tr.Pass(checkSignature, "a signature by the key", "the key "+v.out.Thumbprint)
	return nil
}

func (v *verification) method() error {
	if htm, ok := v.jws.Claims.Text("htm"); !ok || htm != v.e.Method {
		return v.refuse(checkMethod, trace.Finding{
			Expected: "htm " + v.e.Method,
			Found:    v.jws.Claims.Show("htm"),
		})
	}

	v.tr.Pass(checkMethod, v.e.Method, v.e.Method)
	return nil
}

func (v *verification) url() error {
	htu, ok := v.jws.Claims.Text("htu")
	if !ok || len(htu) > maxHTU || !sameURL(htu, v.e.URL) {
		f := trace.Finding{
			Expected: "htu " + v.shown(v.e.URL),
			Found:    "no htu that is a string, or a very long one",
			Remedy:   "name the URL that the request is sent to, without query and fragment",
		}
		if ok && len(htu) <= maxHTU {
			f.Found = v.shown(htu) + ", which differs from character " + strconv.Itoa(differs(htu, v.e.URL)) + " on"
		}
		return v.refuse(checkURL, f)
	}

	v.tr.Pass(checkURL, v.shown(v.e.URL), "the same")
	return nil
}

// shown is what a record has of a URL. That of data may say whose they are, so it has
// the origin alone.
func (v *verification) shown(text string) string {
	text, _, _ = strings.Cut(text, "?")
	if v.e.AccessToken == "" {
		return trace.Cut(text, 200)
	}

	scheme, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	return trace.Cut(scheme+"://"+host, 200) + "/" + trace.Ellipsis
}

// differs returns the number of the first character in which two texts differ.
func differs(a, b string) int {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return i + 1
}

// time checks iat, and nbf and exp if they are there (RFC 9449 4.3, item 11).
func (v *verification) time() error {
	iat, ok := seconds(v.jws.Claims, "iat")
	f := trace.Finding{
		Expected: fmt.Sprintf("iat of at most %s ago", Behind),
		Found:    v.jws.Claims.Show("iat"),
		Remedy:   "make a new proof for each request",
	}
	if !ok {
		f.Remedy = "iat is a number of seconds since 1970"
		return v.refuse(checkTime, f)
	}

	off := v.e.Now.Sub(iat)
	switch {
	case off >= Behind:
		f.Found = off.String() + " ago"
		f.Remedy += ", and check the clock"
		return v.refuse(checkTime, f)
	case off < -Ahead:
		f.Found = (-off).String() + " in the future"
		f.Remedy = "check the clock: it is ahead of this server's"
		return v.refuse(checkTime, f)
	}

	if err := v.bounds(); err != nil {
		return err
	}

	v.out.IssuedAt = iat
	v.tr.Pass(checkTime, f.Expected, off.String()+" ago")
	return nil
}

// bounds checks exp and nbf, which a proof need not have.
func (v *verification) bounds() error {
	for _, name := range []string{"exp", "nbf"} {
		if !v.jws.Claims.Has(name) {
			continue
		}

		t, ok := seconds(v.jws.Claims, name)
		if !ok || name == "exp" && !v.e.Now.Before(t.Add(Ahead)) || name == "nbf" && v.e.Now.Before(t.Add(-Ahead)) {
			return v.refuse(checkTime, trace.Finding{
				Expected: "a proof that is valid now, at " + trace.Stamp(v.e.Now),
				Found:    v.jws.Claims.Show(name),
				Remedy:   "leave " + name + " out",
			})
		}
	}

	return nil
}

// seconds reads a NumericDate (RFC 7519 2), of which it drops fractions.
func seconds(o jose.Object, name string) (time.Time, bool) {
	if o[name].Kind() != '0' {
		return time.Time{}, false
	}
	n, err := strconv.ParseFloat(string(o[name]), 64)
	if err != nil || n < 0 || n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(n), 0), true
}

func (v *verification) id() error {
	jti, ok := v.jws.Claims.Text("jti")
	if !ok || jti == "" || len(jti) > maxJTI {
		return v.refuse(checkID, trace.Finding{
			Expected: fmt.Sprintf("jti as a string of 1 to %d bytes", maxJTI),
			Found:    v.jws.Claims.Show("jti"),
		})
	}

	v.out.JTI = jti
	v.tr.Pass(checkID, "a jti", "one")
	return nil
}

// token checks that a proof is for the access token that is sent with it, and that
// one without a token is for none.
func (v *verification) token() error {
	if v.e.AccessToken == "" {
		return nil
	}

	want := Hash(v.e.AccessToken)
	got, _ := v.jws.Claims.Text("ath")
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		found := "the hash of another token"
		if got == "" {
			found = v.jws.Claims.Show("ath")
		}
		return v.refuse(checkToken, trace.Finding{
			Expected: "ath as the SHA-256 of the access token, in base64url",
			Found:    found,
		})
	}

	v.tr.Pass(checkToken, "ath of the access token", "the same")
	return nil
}

// Hash returns the ath of an access token (RFC 9449 4.2).
func Hash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (v *verification) nonce() error {
	if v.e.Nonces == nil {
		return nil
	}

	nonce, _ := v.jws.Claims.Text("nonce")
	if !v.e.Nonces.Valid(nonce, v.e.Now) {
		found := "another or an old one"
		if nonce == "" {
			found = v.jws.Claims.Show("nonce")
		}
		return v.tr.Refuse(checkNonce, trace.UseDPoPNonce, trace.Finding{
			Expected: "the nonce that this server gave in the header DPoP-Nonce",
			Found:    found,
			Remedy:   "send the request again, with a new proof that has the nonce of this answer",
		})
	}

	v.tr.Pass(checkNonce, "a nonce of this server", "one")
	return nil
}
