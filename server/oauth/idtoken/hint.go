package idtoken

import (
	"errors"

	"fhirdest.example/udap/jose"
)

// Subject returns whom an ID token is about, after its signature by one of the keys
// and its issuer were verified. One that has expired is as good (OpenID Connect Core
// 3.1.2.1, id_token_hint). Its error has nothing of the token.
func (k Keys) Subject(token, issuer string) (string, error) {
	jws, fault := jose.Open(token, nil)
	if fault == nil {
		fault = jws.CheckHeader(jose.HeaderRules{})
	}
	if fault == nil {
		fault = jws.CheckAlgorithm()
	}
	if fault != nil {
		return "", errors.New("it is no signed JWT")
	}

	if jws.Algorithm != Algorithm {
		return "", errors.New("it is not signed with " + Algorithm)
	}

	id, _ := jws.Header.Text("kid")
	for _, key := range k {
		if key.ID != id {
			continue
		}
		if fault := jws.VerifyKey(key.Private.Public()); fault != nil {
			return "", errors.New("its signature is not by the key that it names")
		}

		iss, _ := jws.Claims.Text("iss")
		subject, _ := jws.Claims.Text("sub")
		if iss != issuer || subject == "" {
			return "", errors.New("it is no ID token of this issuer")
		}
		return subject, nil
	}

	return "", errors.New("its key is none of this server's")
}
