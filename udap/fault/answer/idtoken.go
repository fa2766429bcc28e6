package answer

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/certs"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/jose"
)

// labKeyID names the key that signs faulty ID tokens. It is among the issuer's keys
// while such a fault is chosen, so that the fault is the only one.
const labKeyID = "lab"

// labKey signs faulty ID tokens.
var labKey = sync.OnceValues(func() (crypto.Signer, error) {
	return certs.NewKey(certs.RSA2048)
})

// identity is an ID token that is signed anew.
type identity struct {
	claims forge.Claims
	header map[string]any
	key    crypto.Signer
	edit   func(compact string) string
}

// ofIDToken is a fault of an ID token.
func ofIDToken(name, title, rule string, f func(*identity, *workshop) error) *Fault {
	fault := &Fault{
		Name:    "id-token-" + name,
		Stage:   IDToken,
		Title:   title,
		Correct: "does not believe who signed in, and uses none of the tokens",
		Rule:    rule,
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a read, or a request to userinfo",
		Silence: Noticed,
		reads:   either(goesOn(conform.Read, conform.Refresh), follows("/userinfo")),
	}
	fault.changes = map[point]change{
		keySet: addKey,
		tokens: func(m *Message, w *workshop) error {
			return m.members(func(o map[string]jsontext.Value) error { return reissue(o, w, f) })
		},
	}
	return fault
}

// reissue signs the ID token of a token answer anew.
func reissue(o map[string]jsontext.Value, w *workshop, f func(*identity, *workshop) error) error {
	jws, fault := jose.Open(text(o, "id_token"), nil)
	if fault != nil {
		return errNot
	}
	key, err := labKey()
	if err != nil {
		return err
	}

	id := &identity{
		claims: forge.Claims{},
		header: map[string]any{
			"kid": labKeyID,
			"x5c": forge.Absent,
		},
		key: key,
	}
	for name, value := range jws.Claims {
		id.claims[name] = value
	}
	if err := f(id, w); err != nil {
		return err
	}

	payload, err := id.claims.JSON()
	if err != nil {
		return err
	}
	compact, err := forge.Raw{
		Alg: "RS256",
		Key: id.key,
	}.Sign(forge.HeaderWith("RS256", id.header), payload)
	if err != nil {
		return err
	}
	if id.edit != nil {
		compact = id.edit(compact)
	}

	return set(o, "id_token", compact)
}

// addKey puts the key of faulty ID tokens among the issuer's.
func addKey(m *Message, _ *workshop) error {
	key, err := labKey()
	if err != nil {
		return err
	}
	public, err := jose.EncodeKey(key.Public())
	if err != nil {
		return err
	}

	return m.members(func(o map[string]jsontext.Value) error {
		var all []map[string]any
		if err := json.Unmarshal(o["keys"], &all); err != nil {
			return errNot
		}

		text, err := json.Marshal(public)
		if err != nil {
			return err
		}
		one := map[string]any{}
		if err := json.Unmarshal(text, &one); err != nil {
			return err
		}
		one["kid"], one["use"], one["alg"] = labKeyID, "sig", "RS256"
		return set(o, "keys", append(all, one))
	})
}

// saying is an ID token with other claims.
func saying(f func(c forge.Claims, now time.Time)) func(*identity, *workshop) error {
	return func(id *identity, w *workshop) error {
		f(id.claims, w.Now())
		return nil
	}
}

func idTokenFaults() []*Fault {
	const core = "S1-282 S1-289; OpenID Connect Core 3.1.3.7"
	return append(idTokenSignatures(core),
		ofIDToken("other-nonce", "nonce is not the one that was sent", core,
			saying(func(c forge.Claims, _ time.Time) { c["nonce"] = rand.Text() })),
		ofIDToken("no-nonce", "there is no nonce, although one was sent", core,
			saying(func(c forge.Claims, _ time.Time) { delete(c, "nonce") })),
		ofIDToken("other-audience", "aud is another client", core,
			saying(func(c forge.Claims, _ time.Time) { c["aud"] = "another-client" })),
		ofIDToken("further-audience", "aud has a second client that this one does not know", core,
			saying(func(c forge.Claims, _ time.Time) { c["aud"] = []any{c["aud"], "another-client"} })),
		ofIDToken("other-party", "azp is another client", core,
			saying(func(c forge.Claims, _ time.Time) { c["azp"] = "another-client" })),
		ofIDToken("other-issuer", "iss is another issuer", core,
			saying(func(c forge.Claims, _ time.Time) { c["iss"] = "https://elsewhere.invalid/oauth" })),
		ofIDToken("expired", "the ID token has expired", core,
			saying(func(c forge.Claims, now time.Time) {
				c["iat"], c["exp"] = now.Add(-2*time.Hour).Unix(), now.Add(-time.Hour).Unix()
			})),
		ofIDToken("issued-ahead", "the ID token was issued in the future", core,
			saying(func(c forge.Claims, now time.Time) {
				c["iat"], c["exp"] = now.Add(time.Hour).Unix(), now.Add(2*time.Hour).Unix()
			})),
		ofIDToken("no-subject", "there is no sub", core,
			saying(func(c forge.Claims, _ time.Time) { delete(c, "sub") })),
		ofIDToken("other-access-token", "at_hash is that of another access token",
			"S1-290; OpenID Connect Core 3.1.3.6",
			saying(func(c forge.Claims, _ time.Time) {
				sum := sha256.Sum256([]byte("another"))
				c["at_hash"] = forge.Segment(sum[:16])
			})),
		absentIDToken(core),
		otherPerson(),
	)
}

// idTokenSignatures are in the signature and the header.
func idTokenSignatures(core string) []*Fault {
	return []*Fault{
		ofIDToken("bad-signature", "the signature is not that of its bytes", core,
			func(id *identity, _ *workshop) error {
				id.edit = segment(2, swapCharacter)
				return nil
			}),
		ofIDToken("unknown-key", "a key that the issuer does not publish made the signature", core,
			func(id *identity, _ *workshop) (err error) {
				id.header["kid"] = "lab-unknown"
				id.key, err = foreignKey()
				return err
			}),
		ofIDToken("algorithm-none", "the algorithm is none, and there is no signature",
			core+"; RFC 8725 3.1", func(id *identity, _ *workshop) error {
				id.header["alg"] = "none"
				id.edit = segment(2, func(string) string { return "" })
				return nil
			}),
		ofIDToken("algorithm-hs256", "the client_id is the secret of an HS256 signature",
			core+"; RFC 8725 3.1", func(id *identity, _ *workshop) error {
				id.header["alg"] = "HS256"
				secret := claimText(id.claims, "aud")
				id.edit = func(compact string) string {
					signed := compact[:strings.LastIndexByte(compact, '.')]
					h := hmac.New(sha256.New, []byte(secret))
					_, _ = h.Write([]byte(signed)) // a hash never fails
					return signed + "." + forge.Segment(h.Sum(nil))
				}
				return nil
			}),
	}
}

// claimText returns a claim that is a string.
func claimText(c forge.Claims, name string) string {
	value, ok := c[name].(jsontext.Value)
	if !ok {
		return ""
	}
	s, _ := jose.Text(value)
	return s
}

// absentIDToken is a token answer without the ID token that openid asked for.
func absentIDToken(rule string) *Fault {
	f := ofIDToken("absent", "there is no ID token, although openid was granted", rule, nil)
	return altered(f, tokens, func(m *Message, _ *workshop) error {
		return m.members(func(o map[string]jsontext.Value) error {
			if text(o, "id_token") == "" {
				return errNot
			}
			delete(o, "id_token")
			return nil
		})
	})
}

// otherPerson is an answer of userinfo about somebody else.
func otherPerson() *Fault {
	return altered(&Fault{
		Name:    "userinfo-other-subject",
		Stage:   IDToken,
		Title:   "userinfo is about somebody else than the ID token",
		Correct: "uses neither, and reads nothing for that person",
		Rule:    "OpenID Connect Core 5.3.2",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a read",
		Silence: Noticed,
		reads:   goesOn(conform.Read),
	}, people, func(m *Message, _ *workshop) error {
		return m.members(func(o map[string]jsontext.Value) error {
			return set(o, "sub", "somebody-else")
		})
	})
}
