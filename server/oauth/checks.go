package oauth

import (
	"fhirdest.example/udap/trace"
)

// The checks of every endpoint's HTTP shell.
var (
	checkMethod = trace.NewCheck("request.method", "The endpoint is asked by POST", "")
	checkQuery  = trace.NewCheck("request.query", "No parameter is in the URL", "S1-163")
	checkType   = trace.NewCheck("request.type", "The body has the endpoint's content type", "S1-163")
	checkBody   = trace.NewCheck("request.body", "The body is whole, within its limit and well-formed",
		"S1-163 S1-183")
	checkStore   = trace.NewCheck("server.store", "The server can store and read what it must", "")
	checkCurrent = trace.NewCheck("request.current",
		"The request's JWT is valid until what it asks for is stored", "S1-180")
	checkLimit    = trace.NewCheck("request.limit", "The client is within its rates", "")
	checkInternal = trace.NewCheck("server.fault", "The server itself works", "")
)

// The checks of registration, in the order in which they are made.
var (
	checkRegisterBody = trace.NewCheck("register.body",
		"The request is one JSON object with software_statement, udap and perhaps certifications", "S1-100 S1-105")
	checkRegisterUDAP   = trace.NewCheck("register.udap", `udap is the string "1"`, "S1-102")
	checkRegisterGrants = trace.NewCheck("register.grants", "The grant types work at this server",
		"S1-036 S1-182")
	checkRegisterScope = trace.NewCheck("register.scope",
		"At least one of the scopes can be granted, and no unsupported wildcard is asked for", "S1-098 S2-14 S2-16")
	checkRegisterJTI = trace.NewCheck("register.jti", "The software statement was not used before",
		"S1-081 S2-18")
	checkRegisterCancel = trace.NewCheck("register.cancel", "There is a registration to cancel", "S1-122")
	checkRegistered     = trace.NewCheck("register.done",
		"The registration is stored under the community and the client URI",
		"S1-110 S1-112 S1-119 S1-120 S1-124 S2-08")
	checkRenewed = trace.NewCheck("register.certificate",
		"The certificate is the one of the earlier registration, or a renewed one", "S1-119")
)

// The checks of client authentication at token, introspection and revocation.
var (
	checkAuthorization = trace.NewCheck("client.authorization",
		"No Authorization header accompanies an authentication token",
		"S1-165 S1-203 S2-20")
	checkSecret        = trace.NewCheck("client.secret", "No second client credential is sent", "S1-164 S2-20")
	checkClientUDAP    = trace.NewCheck("client.udap", "udap is 1", "S1-171 S1-209 S2-20")
	checkAssertionType = trace.NewCheck("client.assertion_type",
		"client_assertion_type is that of a JWT bearer assertion (RFC 7523 2.2)", "S1-169")
	checkAssertion = trace.NewCheck("client.assertion", "client_assertion is there", "S1-170")
	checkClientJTI = trace.NewCheck("client.jti", "The authentication token was not used before",
		"S1-158 S1-197 S2-18")
)

// The checks of the token endpoint, and of requests with a token.
var (
	checkGrantType = trace.NewCheck("token.grant_type", "grant_type is one that this server knows",
		"S1-165 S1-182 S1-183")
	checkGrant = trace.NewCheck("token.grant",
		"The client is registered for the grant, and the grant works here",
		"S1-182")
	checkResources = trace.NewCheck("token.resources",
		"No resources claim, which this server does not support (UDAP client authorization grants 6.7)", "S1-182")
	checkExtension = trace.NewCheck("token.extension",
		"Extension objects and their members that are not known here are left out, with a warning", "S1-182")
	checkScope = trace.NewCheck("token.scope",
		"At least one of the scopes can be granted, and no unsupported wildcard is asked for",
		"S1-182 S2-14 S2-15 S2-16")
	checkIssued = trace.NewCheck("token.issued",
		"The token is stored, with what it allows, to when and in whose context",
		"S1-184 S2-22")
	checkToken        = trace.NewCheck("introspect.token", "The token is this client's and valid", "")
	checkBearerHeader = trace.NewCheck("bearer.header",
		"The access token is in one Authorization header of the scheme Bearer", "")
	checkBearer = trace.NewCheck("bearer.token",
		"The access token is known, not expired, and its client still registered", "")
	checkTokenParam = trace.NewCheck("introspect.parameter", "The parameter token is there", "")
)
