// Package observe has the checks after whose refusal an observing destination goes on,
// and those after whose refusal it never does, each with the reason. Every check of the
// program is in one of the two lists; one that is in neither is never tolerated.
package observe

import (
	"maps"
	"slices"
	"strings"
)

// Tolerated reports whether a destination that observes may go on after a check has
// refused. It does so only where the code calls Note or Independent of the trace.
func Tolerated(check string) bool {
	_, ok := tolerated[check]
	return ok
}

// Names returns the names of the checks that are tolerated, sorted.
func Names() []string { return slices.Sorted(maps.Keys(tolerated)) }

// Rule is one row of a list.
type Rule struct {
	Check  string // name of a check, or all checks of a family: "chain."
	Reason string
}

// Of returns the rule for a check, and whether it is tolerated; ok is false for a check
// that no rule names.
func Of(check string) (rule Rule, isTolerated, ok bool) {
	if reason, found := tolerated[check]; found {
		return Rule{check, reason}, true, true
	}

	for _, r := range never {
		if r.Check == check || strings.HasSuffix(r.Check, ".") && strings.HasPrefix(check, r.Check) {
			return r, false, true
		}
	}
	return Rule{}, false, false
}

// Reasons that several rules have.
const (
	ownWord   = "the client describes itself; what it may do does not depend on it"
	signed    = "the JWT is signed and used once, so nobody but the client can profit"
	whoAsks   = "it decides which client asks"
	theGrant  = "it decides what is granted, or by whom"
	stolen    = "it keeps a code or token from being used by another party"
	ourselves = "it is about this server or its people, and not about a client's request"
	others    = "it is about another server, seen as its client"
	records   = "it is about access to records"
)

// tolerated are the names of checks and why a destination may go on after them.
var tolerated = map[string]string{
	// JWTs. Signature, trust and identity have been verified by then, and each is used
	// once: see package udap on how long an observing destination remembers a jti.
	"statement.aud":      "it names this server, in another form; what is for another server is refused",
	"statement.exp":      signed,
	"statement.iat":      signed,
	"statement.lifetime": signed,
	"statement.nbf":      signed,
	"statement.jti":      signed,
	"register.jti":       "a second JWT of the client with the same jti; the same JWT again is refused",
	"assertion.aud":      "it names this server, in another form; what is for another server is refused",
	"assertion.exp":      signed,
	"assertion.iat":      signed,
	"assertion.lifetime": signed,
	"assertion.nbf":      signed,
	"assertion.jti":      signed,
	"client.jti":         "a second JWT of the client with the same jti; the same JWT again is refused",

	"assertion.client_id": "the client is the one that signed; the parameter is not used",

	// Requests.
	"request.query":         "parameters in the URL are not read",
	"request.type":          "the body is read as what the endpoint expects, or refused",
	"client.udap":           "the assertion shows that the client speaks UDAP",
	"client.assertion_type": "the assertion is read as what it must be, or refused",
	"client.secret":         "the second credential is not read",

	// Registration.
	"register.udap":                           ownWord,
	"register.scope":                          "the scopes that are beyond doubt are registered",
	"registration.client_name":                ownWord,
	"registration.token_endpoint_auth_method": "every client authenticates by private_key_jwt, whatever it writes",
	"registration.redirect_uris":              "those that some community allows are registered, the others left out",
	"registration.response_types":             "the authorization endpoint knows no other than code",
	"registration.contacts":                   ownWord,
	"registration.logo_uri":                   ownWord,
	"registration.scope":                      "the scopes that can be read are registered",
	"registration.uris":                       ownWord,
	"registration.required":                   ownWord,
	"certification.required":                  "a certification that counts is registered, none that does not",

	// Authorization. A person decides, and the answer goes to a registered redirect URI.
	"authorize.parameters":    "a parameter with two values counts as left out",
	"authorize.response_type": "a code is given, and nothing else",
	"authorize.state":         "an answer without state harms nobody but the client",
	"authorize.pkce":          "the client authenticates, as with edition 1 of the guide",
	"authorize.aud":           "tokens are for this server's records alone",
	"authorize.prompt":        "a value that is not known is not used",
	"authorize.scope":         "a request without scope asks for what was registered",

	// Tokens.
	"token.scope":         "a request without scope asks for what was registered",
	"token.extension":     "what is too long is not stored",
	"b2b.object":          ownWord,
	"b2b.version":         ownWord,
	"b2b.organization":    ownWord,
	"b2b.purpose_of_use":  "no purpose is stored, and access by purpose not given",
	"b2b.subject":         ownWord,
	"b2b.consent":         "no reference to a consent is stored",
	"user.object":         ownWord,
	"user.version":        ownWord,
	"user.purpose_of_use": "no purpose is stored, and access by purpose not given",
	"user.person":         ownWord,
	"user.consent":        "no reference to a consent is stored",
}

// never are the checks, or families of them, after which no destination goes on. The
// first rule that fits a check counts.
var never = []Rule{
	{"jws.", "it decides whether the signature is the client's"},
	{"x5c.", "it decides whether the signature is the client's"},
	{"chain.", "it decides whether the certificate is trusted"},
	{"community.", "it decides whether the certificate is trusted"},
	{"signature.", "it decides whether a signature in a record is good"},

	{"statement.iss", whoAsks},
	{"statement.sub", whoAsks},
	{"assertion.iss", whoAsks},
	{"assertion.sub", whoAsks},
	{"assertion.certificate", whoAsks},
	{"assertion.scope", "the client limits its own request by it"},
	{"client.", whoAsks},

	{"registration.grant_types", "without it, it is not known whether the client registers or cancels"},
	{"registration.dpop_bound_access_tokens", stolen},
	{"register.", "nothing can be registered without it, or nothing is refused by it"},
	{"certification.", "another party vouches for the client"},

	{"request.", "there is no whole request that could be read, or too many come"},
	{"authorize.", theGrant},
	{"launch.", theGrant},
	{"consent.", theGrant},
	{"grants.", theGrant},
	{"token.", theGrant},
	{"introspect.", theGrant},
	{"userinfo.", theGrant},
	{"bearer.", stolen},
	{"dpop.", stolen},

	{"b2b.san_purpose", "the certificate limits the purposes"},
	{"b2b.extensions", "nothing is refused by it"},
	{"b2b.treatment", "nothing is refused by it"},
	{"b2b.tefca_ias", "individual access depends on it"},
	{"ias.", "individual access depends on it"},

	{"access.", records},
	{"match.", records},
	{"provenance.", records},
	{"job.", records},

	{"metadata.", "there is no document to answer with"},
	{"server.", ourselves},
	{"front.", ourselves},
	{"cors.", ourselves},
	{"signin.", ourselves},
	{"people.", ourselves},
	{"tiered.", others},
	{"reply.", others},
	{"discover.", others},
	{"own.", others},
	{"login.", others},
	{"openid.", others},
	{"id_token.", others},
	{"get.", others},
	{"export.", others},
	{"doctor.", others},
	{"tls.", others},
	{"http.", others},
}
