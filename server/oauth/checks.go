package oauth

import (
	"slices"
	"strings"

	"fhirdest.example/udap"
)

// The checks of every endpoint's HTTP shell.
var (
	checkMethod   = check("request.method", "The endpoint is asked by POST", "")
	checkQuery    = check("request.query", "No parameter stands in the URL", "S1-163")
	checkType     = check("request.type", "The body has the endpoint's content type", "S1-163")
	checkBody     = check("request.body", "The body is whole, within its limit and well-formed", "S1-163 S1-183")
	checkStore    = check("server.store", "The server can store and read what it must", "")
	checkLimit    = check("request.limit", "The client keeps within the rates allowed to it", "")
	checkInternal = check("server.fault", "The server itself works", "")
)

// The checks of registration, in the order in which they are made.
var (
	checkRegisterBody = check("register.body",
		"The request is one JSON object with software_statement, udap and perhaps certifications", "S1-100 S1-105")
	checkRegisterUDAP   = check("register.udap", `udap is the string "1"`, "S1-102")
	checkRegisterGrants = check("register.grants", "The grant types work at this server", "S1-036 S1-182")
	checkRegisterScope  = check("register.scope",
		"At least one of the scopes can be granted, and no unsupported wildcard is asked for", "S1-098 S2-14 S2-16")
	checkRegisterJTI    = check("register.jti", "The software statement was not used before", "S1-081 S2-18")
	checkRegisterCancel = check("register.cancel", "There is a registration to cancel", "S1-122")
	checkRegistered     = check("register.done", "The registration is stored under the community and the client URI",
		"S1-110 S1-112 S1-119 S1-120 S1-124 S2-08")
	checkRenewed = check("register.certificate",
		"The certificate is the one of the earlier registration, or a renewed one", "S1-119")
)

// The checks of client authentication at token, introspection and revocation.
var (
	checkAuthorization = check("client.authorization", "No Authorization header accompanies an authentication token",
		"S1-165 S1-203 S2-20")
	checkSecret        = check("client.secret", "No second client credential is sent", "S1-164 S2-20")
	checkClientUDAP    = check("client.udap", "udap is 1", "S1-171 S1-209 S2-20")
	checkAssertionType = check("client.assertion_type",
		"client_assertion_type is that of a JWT bearer assertion (RFC 7523 2.2)", "S1-169")
	checkAssertion = check("client.assertion", "client_assertion is there", "S1-170")
	checkClientJTI = check("client.jti", "The authentication token was not used before", "S1-158 S1-197 S2-18")
)

// The checks of the token endpoint, and of those who use tokens.
var (
	checkGrantType = check("token.grant_type", "grant_type is one that this server knows", "S1-165 S1-182 S1-183")
	checkGrant     = check("token.grant", "The client is registered for the grant, and the grant works here",
		"S1-182")
	checkResources = check("token.resources",
		"No resources claim, which this server does not support (UDAP client authorization grants 6.7)", "S1-182")
	checkExtension = check("token.extension",
		"Extension objects that mean nothing here are ignored, and that is said", "S1-182")
	checkScope = check("token.scope",
		"At least one of the scopes can be granted, and no unsupported wildcard is asked for", "S1-182 S2-14 S2-15 S2-16")
	checkIssued = check("token.issued", "The token is stored, with what it allows, to when and in whose context",
		"S1-184 S2-22")
	checkToken        = check("introspect.token", "The token is this client's and good", "")
	checkBearerHeader = check("bearer.header",
		"The access token stands in one Authorization header of the scheme Bearer", "")
	checkBearer = check("bearer.token",
		"The access token is known, not expired, and its client still registered", "")
	checkTokenParam = check("introspect.parameter", "The parameter token is there", "")
)

// Checks lists every check of this package.
func Checks() []udap.Check {
	return slices.Concat(
		[]udap.Check{checkMethod, checkQuery, checkType, checkBody, checkStore, checkLimit, checkInternal},
		[]udap.Check{checkRegisterBody, checkRegisterUDAP, checkRegisterGrants, checkRegisterScope,
			checkRegisterJTI, checkRegisterCancel, checkRegistered, checkRenewed},
		[]udap.Check{
			checkAuthorization, checkSecret, checkClientUDAP, checkAssertionType, checkAssertion,
			checkClientJTI,
		},
		[]udap.Check{
			checkGrantType, checkGrant, checkResources, checkExtension, checkScope, checkIssued,
			checkToken, checkBearerHeader, checkBearer, checkTokenParam,
		},
		metadataChecks(),
	)
}

func check(name, title, requirements string) udap.Check {
	return udap.Check{Name: name, Title: title, Requirements: strings.Fields(requirements)}
}
