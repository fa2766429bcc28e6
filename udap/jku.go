package udap

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Bounds of a key set.
const (
	maxKeySet    = 256 << 10
	maxKeys      = 50
	keySetBudget = 5 * time.Second
)

var checkJKU = trace.NewCheck("x5c.jku",
	"jku and kid replace x5c in an authentication token only if the community's policy allows it, and name the "+
		"registered jwks_uri", "S2-24")

// KeySetSource fetches the JWK set of a client for the experimental variant of
// UDAP Security 2.0, 7.6. It is asked only for a jwks_uri that a trusted client
// registered, in a community whose policy has JKU; what it brings is trusted in
// nothing.
type KeySetSource interface {
	KeySet(ctx context.Context, url string) ([]byte, error)
}

// keySetURL returns the registered jwks_uri that the header's jku may be
// followed to, and empty where none may. All reasons look alike from outside:
// a stranger does not learn which clients are registered, and with what.
func (val *validation) keySetURL(e *envelope) string {
	jku, ok := e.Header.Text("jku")
	if !ok || e.Header.Has("x5c") || val.lookup == nil || val.v.KeySets == nil {
		return ""
	}

	client := val.registration(e, val.lookup)
	if !client.known || client.binding.JWKSURI != jku {
		return ""
	}
	if !slices.ContainsFunc(client.communities, func(c *Community) bool {
		return c.Policy.JKU
	}) {
		return ""
	}

	return client.binding.JWKSURI // the same text, but no part of a header that it would keep in memory
}

// certsByJKU reads the certificates of the key that kid names in the set at
// url. From there on the same checks apply to them as to those of x5c.
func (val *validation) certsByJKU(e *envelope, url string) ([]*x509.Certificate, *jose.Fault) {
	const expected = "a JWK set whose one key with that kid has x5c (UDAP Security 2.0, 7.6)"
	ctx, cancel := context.WithTimeout(val.ctx, keySetBudget)
	defer cancel()

	kid, ok := e.Header.Text("kid")
	if !ok {
		return nil, &jose.Fault{
			Expected: "kid beside jku",
			Found:    e.Header.Show("kid"),
		}
	}

	data, err := val.v.KeySets.KeySet(ctx, url)
	var key jose.Object
	if err == nil {
		key, err = keyOf(data, kid)
	}
	if err != nil {
		return nil, &jose.Fault{
			Expected: expected,
			Found:    trace.Cut(url, 200) + ": " + err.Error(),
			Remedy:   "send the certificates in x5c: nothing needs to be fetched then",
			Err:      err,
		}
	}

	certs, f := jose.DecodeX5C(key, val.v.parseCertificate)
	if f != nil {
		return nil, f
	}
	if err := keyMatches(key, certs[0]); err != nil {
		return nil, &jose.Fault{
			Expected: "a JWK that is the key of its x5c[0] (RFC 7517 4.7)",
			Found:    err.Error(),
			Err:      err,
		}
	}

	val.tr.Warn(checkJKU, trace.Finding{
		Expected: "x5c",
		Found:    "jku " + trace.Cut(url, 200) + " and kid " + trace.Cut(kid, 100),
		Remedy: "accepted because the community's policy says so (jku: true); the variant is experimental: other " +
			"servers want x5c",
	})

	return certs, nil
}

// keyOf finds the one key with an identifier in a JWK set (RFC 7517 5).
func keyOf(data []byte, kid string) (jose.Object, error) {
	if len(data) > maxKeySet {
		return nil, fmt.Errorf("a key set of %d bytes, more than %d", len(data), maxKeySet)
	}

	set, err := jose.ParseObject(data)
	if err != nil {
		return nil, err
	}

	keys, err := jose.Elements(set["keys"], maxKeys)
	if err != nil {
		return nil, err
	}

	var found jose.Object
	for _, k := range keys {
		key, err := jose.ParseObject(k)
		if err != nil {
			return nil, err
		}
		if id, ok := key.Text("kid"); !ok || id != kid {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("two keys with the kid %q", trace.Cut(kid, 100))
		}

		found = key
	}

	if found == nil {
		return nil, fmt.Errorf("no key with the kid %q", trace.Cut(kid, 100))
	}
	return found, nil
}

// keyMatches compares the members of a JWK with the key of its certificate.
func keyMatches(key jose.Object, cert *x509.Certificate) error {
	var kty string
	want := map[string]*big.Int{}
	switch k := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		kty, want["n"], want["e"] = "RSA", k.N, big.NewInt(int64(k.E))
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			return err
		}

		half := len(point) / 2
		kty, want["x"], want["y"] = "EC", new(big.Int).SetBytes(point[1:1+
			half]), new(big.Int).SetBytes(point[1+half:])

	default:
		return fmt.Errorf("%T", k)
	}

	if got, _ := key.Text("kty"); got != kty {
		return fmt.Errorf("kty %s, where the certificate has a key of kind %s", key.Show("kty"), kty)
	}

	for name, n := range want {
		text, _ := key.Text(name)
		b, err := jose.DecodeSegment(text)
		if err != nil || new(big.Int).SetBytes(b).Cmp(n) != 0 {
			return fmt.Errorf("%s is not that of the certificate", name)
		}
	}

	return nil
}
