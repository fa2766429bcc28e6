package client

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// ExpectIDToken is what is known about an ID token before it is read.
type ExpectIDToken struct {
	ClientID trace.ClientID
	Nonce    string        // that was sent; empty: none was
	Access   string        // the access token that came with it, for at_hash
	MaxAge   time.Duration // that was asked for; negative: none was
}

// IDToken is a verified ID token (OpenID Connect Core 2).
type IDToken struct {
	Issuer   string
	Subject  string
	Issued   time.Time
	Expires  time.Time
	AuthTime time.Time // when the person signed in; zero: not given

	claims jose.Object
}

// Text returns a claim that is a string; empty when it is absent or something else.
func (t *IDToken) Text(name string) string {
	s, _ := t.claims.Text(name)
	return s
}

const (
	maxSubject     = 255 // bytes (OpenID Connect Core 2)
	maxIDTokenLife = 24 * time.Hour
	maxProviderKey = 32 // keys of a key set that are looked at
)

// VerifyIDToken verifies an ID token (OpenID Connect Core 3.1.3.7): the signature by
// a key that the issuer publishes, iss, aud, azp, the times, nonce, sub and at_hash.
// A header never brings the key. Certificates in x5c must be of the key that signed,
// and lead to an anchor of the community, or the token is refused.
func (c *Client) VerifyIDToken(
	ctx context.Context, p *OpenID, compact string, e ExpectIDToken, tr *trace.Trace,
) (*IDToken, error) {
	v := &idToken{c: c, p: p, e: e, tr: tr, now: c.cfg.Now()}
	if err := v.open(ctx, compact); err != nil {
		return nil, err
	}
	if err := tr.Collect(
		v.issuer,
		v.audience,
		v.times,
		v.nonce,
		v.subject,
		v.accessHash,
	); err != nil {
		return nil, err
	}

	return &v.out, nil
}

// idToken is the verification of one ID token.
type idToken struct {
	c   *Client
	p   *OpenID
	e   ExpectIDToken
	tr  *trace.Trace
	now time.Time
	jws *jose.JWS
	out IDToken
}

func (v *idToken) refuse(c trace.Check, expected, found string) error {
	return stop(v.tr, c, expected, found, "")
}

// open decodes the token and verifies its signature.
func (v *idToken) open(ctx context.Context, compact string) error {
	if compact == "" {
		return v.refuse(checkIDSignature, "an id_token", "none")
	}

	jws, f := jose.Open(compact, nil)
	if f == nil {
		f = jws.CheckHeader(jose.HeaderRules{Forbidden: []string{"jwk", "jku", "x5u"}})
	}
	if f == nil {
		f = jws.CheckAlgorithm()
	}
	if f == nil && !slices.Contains(v.p.Algorithms, jws.Algorithm) {
		f = &jose.Fault{
			Expected: "one of the issuer's algorithms, " + strings.Join(v.p.Algorithms, ", "),
			Found:    jws.Algorithm,
		}
	}

	if f != nil {
		return v.tr.Refuse(checkIDSignature, CodeStopped, f.Finding())
	}

	keys, err := v.keys(ctx, jws)
	if err != nil {
		return err
	}
	if err := v.signature(jws, keys); err != nil {
		return err
	}

	v.jws, v.out.claims = jws, jws.Claims
	return nil
}

// keys returns the issuer's keys that may have signed: those with the kid of
// the header, or all if it has none (RFC 7515 4.1.4).
func (v *idToken) keys(ctx context.Context, jws *jose.JWS) ([]crypto.PublicKey, error) {
	tr, p := v.tr, v.p
	var reply *Reply
	var refusal *Refusal
	if _, err := v.c.getObject(
		ctx,
		tr,
		p.keys,
		"",
		checkIDKeys,
		&reply,
		&refusal,
	); err != nil {
		return nil, err
	}

	set, err := jose.ParseObject(reply.Body) // strictly: no member twice
	if err != nil {
		return nil, stop(tr, checkIDKeys, "a JWK set", err.Error(), "")
	}

	list, err := jose.Elements(set["keys"], maxProviderKey)
	if err != nil {
		return nil, stop(
			tr,
			checkIDKeys,
			fmt.Sprintf("at most %d keys", maxProviderKey),
			err.Error(),
			"",
		)
	}

	kid, named := jws.Header.Text("kid")
	var keys []crypto.PublicKey
	for _, text := range list {
		o, err := jose.ParseObject(text)
		if err != nil {
			continue // one that is not understood signs nothing here (RFC 7517 5)
		}
		if id, _ := o.Text("kid"); named && id != kid {
			continue
		}
		if key, f := jose.DecodeKey(o); f == nil {
			keys = append(keys, key)
		}
	}

	if len(keys) == 0 {
		return nil, stop(
			tr,
			checkIDKeys,
			"a key with the token's kid at "+p.keys,
			fmt.Sprintf("none with kid %q among %d", trace.Cut(kid, 100), len(list)),
			"",
		)
	}

	tr.Pass(checkIDKeys, "", fmt.Sprintf("%d of %d keys", len(keys), len(list)))
	return keys, nil
}

// signature verifies the signature by one of the issuer's keys.
func (v *idToken) signature(jws *jose.JWS, keys []crypto.PublicKey) error {
	var fault *jose.Fault
	for _, key := range keys {
		if fault = jws.VerifyKey(key); fault != nil {
			continue
		}
		if err := v.certificates(jws, key); err != nil {
			return err
		}

		v.tr.Pass(
			checkIDSignature,
			"a signature by a key of the issuer",
			jws.Algorithm+", "+jose.KeyName(key),
		)
		return nil
	}

	return v.tr.Refuse(checkIDSignature, CodeStopped, fault.Finding())
}

// certificates holds the chain that a token may have to the key that signed it and
// to the community.
func (v *idToken) certificates(jws *jose.JWS, key crypto.PublicKey) error {
	if !jws.Header.Has("x5c") {
		return nil
	}

	chain, f := jose.DecodeX5C(jws.Header, x509.ParseCertificate)
	if f != nil {
		return v.tr.Refuse(checkIDSignature, CodeStopped, f.Finding())
	}
	if same, ok := key.(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(chain[0].PublicKey) {
		return v.refuse(
			checkIDSignature,
			"x5c[0] of the key that signed",
			"a certificate of another key",
		)
	}
	if !slices.ContainsFunc(v.c.vouching(), func(m *udap.Community) bool { return m.HasPath(chain, v.now) }) {
		return v.refuse(
			checkIDSignature,
			"a chain to an anchor of the community",
			"another chain",
		)
	}

	return nil
}

func (v *idToken) issuer() error {
	got, _ := v.jws.Claims.Text("iss")
	if got != v.p.Issuer || got == "" {
		return v.refuse(checkIDIssuer, v.p.Issuer, v.jws.Claims.Show("iss"))
	}
	v.out.Issuer = got
	v.tr.Pass(checkIDIssuer, v.p.Issuer, got)
	return nil
}

// audience wants this client alone. A further audience, which OpenID Connect allows,
// would be another client that could show the token here.
func (v *idToken) audience() error {
	claims, want := v.jws.Claims, string(v.e.ClientID)
	got, ok := claims.Text("aud")
	if list, isList := claims.List("aud"); isList && len(list) == 1 {
		got, ok = list[0], true
	}
	if !ok || got != want || want == "" {
		return v.refuse(checkIDAudience, "aud "+want+" alone", claims.Show("aud"))
	}
	if azp, _ := claims.Text("azp"); claims.Has("azp") && azp != want {
		return v.refuse(
			checkIDAudience,
			"azp "+want+", or none",
			claims.Show("azp"),
		)
	}

	v.tr.Pass(checkIDAudience, want, got)
	return nil
}

func (v *idToken) times() error {
	exp, okExp := moment(v.jws.Claims, "exp")
	iat, okIat := moment(v.jws.Claims, "iat")
	v.out.Expires, v.out.Issued = exp, iat
	life := exp.Sub(iat)
	switch {
	case !okExp || !okIat:
		return v.refuse(
			checkIDTimes,
			"exp and iat in whole seconds",
			v.jws.Claims.Show("exp")+" and "+v.jws.Claims.Show("iat"),
		)
	case !v.now.Before(exp.Add(skewAllowed)):
		return v.refuse(
			checkIDTimes,
			"exp after "+trace.Stamp(v.now),
			trace.Stamp(exp),
		)
	case iat.After(v.now.Add(skewAllowed)):
		return v.refuse(
			checkIDTimes,
			"iat not after "+trace.Stamp(v.now),
			trace.Stamp(iat),
		)
	case life <= 0 || life > maxIDTokenLife:
		return v.refuse(
			checkIDTimes,
			"exp after iat, by a day at most",
			life.String(),
		)

	case v.now.Sub(iat) > maxIDTokenLife:
		return v.refuse(checkIDTimes, "a token of today", trace.Stamp(iat))
	}

	return v.authTime()
}

// authTime checks how long ago the person signed in, where that was asked for.
func (v *idToken) authTime() error {
	at, ok := moment(v.jws.Claims, "auth_time")
	switch {
	case !ok && v.jws.Claims.Has("auth_time"):
		return v.refuse(
			checkIDTimes,
			"auth_time in whole seconds",
			v.jws.Claims.Show("auth_time"),
		)
	case !ok && v.e.MaxAge >= 0:
		return v.refuse(
			checkIDTimes,
			"auth_time, as max_age was asked for",
			"none",
		)
	case ok && at.After(v.now.Add(skewAllowed)):
		return v.refuse(
			checkIDTimes,
			"auth_time not in the future",
			trace.Stamp(at),
		)
	case v.e.MaxAge >= 0 && v.now.Sub(at) > v.e.MaxAge+skewAllowed:
		return v.refuse(
			checkIDTimes,
			fmt.Sprintf("auth_time at most %s ago", v.e.MaxAge),
			trace.Stamp(at),
		)
	}

	v.out.AuthTime = at
	v.tr.Pass(
		checkIDTimes,
		"",
		"issued "+trace.Stamp(v.out.Issued)+", until "+trace.Stamp(v.out.Expires),
	)
	return nil
}

func (v *idToken) nonce() error {
	got, _ := v.jws.Claims.Text("nonce")
	if subtle.ConstantTimeCompare([]byte(got), []byte(v.e.Nonce)) != 1 {
		return v.refuse(
			checkIDNonce,
			"the nonce that was sent",
			"another one, or none",
		)
	}
	v.tr.Pass(checkIDNonce, "the nonce that was sent", "the same")
	return nil
}

// subject accepts what can be compared byte for byte: visible ASCII.
func (v *idToken) subject() error {
	sub, ok := v.jws.Claims.Text("sub")
	odd := strings.ContainsFunc(sub, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	if !ok || sub == "" || len(sub) > maxSubject || odd {
		return v.refuse(
			checkIDSubject,
			fmt.Sprintf("1 to %d characters of visible ASCII", maxSubject),
			v.jws.Claims.Show("sub"),
		)
	}

	v.out.Subject = sub
	v.tr.Pass(checkIDSubject, "", sub)
	return nil
}

// accessHash compares at_hash, which the code flow may leave out (OpenID Connect
// Core 3.1.3.6), with the access token.
func (v *idToken) accessHash() error {
	if !v.jws.Claims.Has("at_hash") {
		v.tr.Skip(checkIDHash, "the token has no at_hash")
		return nil
	}

	var half []byte
	if strings.HasSuffix(v.jws.Algorithm, "384") {
		sum := sha512.Sum384([]byte(v.e.Access))
		half = sum[:len(sum)/2]
	} else {
		sum := sha256.Sum256([]byte(v.e.Access))
		half = sum[:len(sum)/2]
	}

	if got, _ := v.jws.Claims.Text("at_hash"); got != base64.RawURLEncoding.EncodeToString(half) {
		return v.refuse(checkIDHash, "at_hash of the access token", "another one")
	}

	v.tr.Pass(checkIDHash, "at_hash of the access token", "the same")
	return nil
}

// moment returns a claim that is a time in whole seconds (RFC 7519 2), of this and
// the next centuries.
func moment(claims jose.Object, name string) (t time.Time, ok bool) {
	n, err := strconv.ParseInt(string(claims[name]), 10, 64)
	if err != nil || n < 0 || n > math.MaxUint32 {
		return t, false
	}
	return time.Unix(n, 0), true
}
