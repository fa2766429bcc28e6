package udap

import (
	"fhirdest.example/udap/trace"
)

// The checks on any signed thing, in the order in which they are made.
var (
	checkForm = trace.NewCheck("jws.form",
		"A compact JWS of three strict segments, each JSON object with every member once",
		"S1-001 S1-002 S1-003 S1-161")
	checkHeaders = trace.NewCheck("jws.header", "No header that changes what is signed or how it is read",
		"S1-002 S1-007")
	checkAlg = trace.NewCheck("jws.alg", "alg is one of RS256, ES256, RS384, ES384 and fits the signer's key",
		"S1-004 S1-005 S1-006 S1-007 S1-045 S2-04")
	checkX5C = trace.NewCheck("x5c.form", "x5c holds the signer's certificate first, in base64 DER",
		"S1-008 S1-072 S1-152 S1-175")
	checkSignerKey = trace.NewCheck("x5c.key",
		"The signer's key is RSA of 2048 bits or more, P-256 or P-384, and sound", "S1-002")
	checkThumbprint = trace.NewCheck("x5c.thumbprint", "x5t and x5t#S256, where present, name x5c[0]", "S1-002")
	checkSignature  = trace.NewCheck("jws.signature", "The signature was made by the key of x5c[0]",
		"S1-073 S1-074 S1-105 S1-173 S1-174")
)

// The checks on certificates.
var (
	checkPath = trace.NewCheck("chain.path", "A path leads from the leaf to an anchor of a trust community",
		"S1-105 S1-176 S1-183")
	checkCertForm = trace.NewCheck("chain.form",
		"Certificates are X.509 v3 with sound serials and no critical extension that is not understood",
		"S1-105 S1-176")
	checkCertKey = trace.NewCheck("chain.key", "Every key on the path is strong enough", "S1-105 S1-176")
	checkCertSig = trace.NewCheck("chain.signature",
		"Every certificate is signed by the next one with SHA-256 or better", "S1-105 S1-176")
	checkCertCA = trace.NewCheck("chain.ca",
		"Issuers are CAs that may sign certificates, within their path lengths", "S1-105 S1-176")
	checkCertDates = trace.NewCheck("chain.validity", "Every certificate on the path is within its dates",
		"S1-105 S1-176")
	checkCertNames = trace.NewCheck("chain.names",
		"Names stay within the name constraints of their issuers (RFC 5280 4.2.1.10)", "S1-105 S1-176")
	checkCertPolicy = trace.NewCheck("chain.policy",
		"Certificate policies of the path are valid (RFC 5280 6.1)",
		"S1-105 S1-176")
	checkLeaf = trace.NewCheck("chain.leaf", "The signer's certificate is an end entity's and may sign",
		"S1-105 S1-176")
	checkPlace = trace.NewCheck("chain.place",
		"The leaf was not issued for another place: what a lab issues counts in one session alone", "S1-105 S1-176")
	checkUsage = trace.NewCheck("chain.usage", "The leaf has an extended key usage that the community asks for",
		"S1-105 S1-176")
	checkRevocation = trace.NewCheck("chain.revocation",
		"No certificate of the path is revoked, and that is known",
		"S1-105 S1-176")
	checkCommunities = trace.NewCheck("community.alg", "The community accepts the algorithm", "S1-042 S1-045")
)

// claimChecks are the checks on the claims of one kind of JWT.
type claimChecks struct {
	iss, sub, aud, exp, iat, lifetime, nbf, jti trace.Check
}

var statementChecks = claimChecks{
	iss: trace.NewCheck("statement.iss",
		"iss is a URI of the certificate's Subject Alternative Name, byte for byte", "S1-075 S1-101 S1-106 S2-19"),
	sub: trace.NewCheck("statement.sub", "sub equals iss", "S1-076 S1-107"),
	aud: trace.NewCheck("statement.aud", "aud is the registration endpoint, and nothing else",
		"S1-077 S1-103 S1-108 S2-19"),
	exp: trace.NewCheck("statement.exp", "The statement has not expired", "S1-078 S1-109"),
	iat: trace.NewCheck("statement.iat", "The statement was not issued in the future", "S1-080"),
	lifetime: trace.NewCheck("statement.lifetime", "exp is after iat by five minutes at most",
		"S1-079 S1-104 S2-11"),
	nbf: trace.NewCheck("statement.nbf", "The statement is valid already", "S1-001"),
	jti: trace.NewCheck("statement.jti", "jti is a non-empty string", "S1-081"),
}

var assertionChecks = claimChecks{
	iss: trace.NewCheck("assertion.iss", "iss is a client_id that is registered here", "S1-153 S1-177"),
	sub: trace.NewCheck("assertion.sub", "sub equals iss", "S1-154 S1-177 S1-193"),
	aud: trace.NewCheck("assertion.aud", "aud is the URL of the endpoint, and nothing else",
		"S1-155 S1-179 S1-194 S2-19"),
	exp: trace.NewCheck("assertion.exp", "The authentication token has not expired",
		"S1-156 S1-180 S1-195"),
	iat: trace.NewCheck("assertion.iat", "The authentication token was not issued in the future",
		"S1-157 S1-196"),
	lifetime: trace.NewCheck("assertion.lifetime", "exp is after iat by five minutes at most", "S1-160 S1-181"),
	nbf:      trace.NewCheck("assertion.nbf", "The authentication token is valid already", "S1-001"),
	jti:      trace.NewCheck("assertion.jti", "jti is a non-empty string", "S1-158 S1-197"),
}

// The further checks on authentication tokens.
var (
	checkBinding = trace.NewCheck("assertion.certificate",
		"The certificate has the URI to which the client's registration is bound, in the same community",
		"S1-177 S2-08")
	checkClientID = trace.NewCheck("assertion.client_id",
		"The client_id parameter, where sent, equals iss and sub",
		"S1-178")
	checkAntScope = trace.NewCheck("assertion.scope", "The scope claim, where present, is a list of scopes",
		"S1-172 S1-229")
)
