package jose_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"fhirdest.example/udap/jose"
)

// The rules on typ and on further members are the caller's; those on crit, b64,
// zip and enc, and on the kinds of members, hold always.
// Covers: case 025, case 029
func TestHeaderRules(t *testing.T) {
	plain := jose.HeaderRules{Types: []string{"client-authentication+jwt"}}
	proof := jose.HeaderRules{Types: []string{"dpop+jwt"}, TypeRequired: true, Forbidden: []string{"x5c"}}
	for _, row := range []struct {
		name, header string
		plain, proof bool
	}{
		{"no typ", `{"alg":"ES256"}`, true, false},
		{"JWT", `{"alg":"ES256","typ":"JWT"}`, true, false},
		{"a DPoP proof", `{"alg":"ES256","typ":"dpop+jwt"}`, false, true},
		{"a DPoP proof, long and in capitals", `{"alg":"ES256","typ":"application/DPOP+JWT"}`, false, true},
		{"a client's assertion", `{"alg":"ES256","typ":"client-authentication+jwt"}`, true, false},
		{"an access token", `{"alg":"ES256","typ":"at+jwt"}`, false, false},
		{"a forbidden member", `{"alg":"ES256","typ":"dpop+jwt","x5c":[]}`, false, false},
		{"crit", `{"alg":"ES256","typ":"dpop+jwt","crit":["exp"]}`, false, false},
		{"a number for kid", `{"alg":"ES256","typ":"dpop+jwt","kid":1}`, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			segment := base64.RawURLEncoding.EncodeToString
			token, fault := jose.Open(segment([]byte(row.header))+"."+segment([]byte(`{}`))+".AAAA", nil)
			if fault != nil {
				t.Fatal(fault)
			}
			if fault := token.CheckHeader(plain); (fault == nil) != row.plain {
				t.Errorf("under the rules of UDAP: %v", fault)
			}

			if fault := token.CheckHeader(proof); (fault == nil) != row.proof {
				t.Errorf("under the rules of DPoP: %v", fault)
			}
		})
	}
}

// Sign writes typ and kid where they are given, and escapes them.
func TestSignedHeader(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	for _, row := range []struct {
		name string
		h    jose.Header
		want map[string]string
	}{
		{"alg alone", jose.Header{}, map[string]string{"alg": "ES384"}},
		{"typ", jose.Header{Type: "dpop+jwt"}, map[string]string{"alg": "ES384", "typ": "dpop+jwt"}},
		{"kid", jose.Header{KeyID: `a"b`}, map[string]string{"alg": "ES384", "kid": `a"b`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			compact, err := jose.Sign(key, row.h, "", []byte(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			token, fault := jose.Open(compact, nil)
			if fault != nil {
				t.Fatal(fault)
			}

			if len(token.Header) != len(row.want) {
				t.Errorf("the header has %s", token.Header.Names())
			}

			for name, want := range row.want {
				if got, _ := token.Header.Text(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}
