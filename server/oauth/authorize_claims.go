package oauth

import (
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

var checkAuthorizeClaims = trace.NewCheck("authorize.claims",
	"claims, if sent, is JSON, and the subject that it asks for is the one of id_token_hint", "S1-261 S1-262")

// maxClaims bounds the parameter claims, in bytes.
const maxClaims = 4096

// claims reads of the parameter claims the one thing that this server honours: the
// subject whom the client wants an ID token about (OpenID Connect Core 5.5.1). All else
// in it is a wish that a server may leave unanswered.
func (a *authorization) claims() error {
	text := a.params["claims"]
	if text == "" {
		return nil
	}

	const expected = "one JSON object of at most 4096 bytes (OpenID Connect Core 5.5)"
	if len(text) > maxClaims {
		return a.refuse(checkAuthorizeClaims, expected, "a longer text", "")
	}
	asked, err := jose.ParseObject([]byte(text))
	if err != nil {
		return a.refuse(checkAuthorizeClaims, expected, err.Error(), "")
	}

	for _, of := range []string{"id_token", "userinfo"} {
		subject, ok := requestedSubject(asked, of)
		switch {
		case !ok:
			continue
		case a.out.Subject != "" && a.out.Subject != subject:
			return a.refuse(checkAuthorizeClaims, "one subject", a.out.Subject+" and "+subject,
				"id_token_hint and claims name different people")
		}

		a.out.Subject = subject
		a.tr.Pass(checkAuthorizeClaims, "a subject", subject)
	}

	return nil
}

// requestedSubject returns the value that is asked for as sub of an ID token or of
// userinfo.
func requestedSubject(asked jose.Object, of string) (subject string, ok bool) {
	claims, err := jose.ParseObject(asked[of])
	if err != nil {
		return "", false // absent or null
	}
	sub, err := jose.ParseObject(claims["sub"])
	if err != nil {
		return "", false
	}
	return sub.Text("value")
}
