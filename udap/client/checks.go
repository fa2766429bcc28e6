package client

import (
	"fhirdest.example/udap/trace"
)

// CodeStopped is the code of a refusal that is the originator's own: it did
// not go on. It never goes over the wire.
const CodeStopped trace.Code = "stopped"

// The checks of an originator, in the order in which they are met.
var (
	checkConnect = trace.NewCheck("reply.connect",
		"The destination answers, over TLS, under a certificate of its name", "S1-013")
	checkClock = trace.NewCheck("reply.clock", "The destination's clock and ours agree", "")
	checkBody  = trace.NewCheck("reply.body", "The answer is JSON of bounded size", "S1-016")

	checkFound = trace.NewCheck("discover.found", "The destination supports UDAP, for the community asked for",
		"S1-016 S1-060 S1-061")
	checkSigned = trace.NewCheck("discover.signed_metadata",
		"The metadata is signed; without that nothing goes on",
		"S2-07 S2-06 S1-021")
	checkSlash     = trace.NewCheck("discover.slash", "The base URL has its canonical form", "")
	checkEndpoints = trace.NewCheck("discover.endpoints",
		"Registration and token endpoint are those of one authorization server", "")
	checkProfiles = trace.NewCheck("discover.profiles", "The profiles that this workflow needs are supported",
		"S1-020")
	checkGrant     = trace.NewCheck("discover.grant", "The grant type is supported", "S1-020 S1-021")
	checkAlgorithm = trace.NewCheck("discover.algorithm", "The destination accepts our signature algorithm",
		"S1-004 S1-005 S1-006 S1-021")
	checkNeeds = trace.NewCheck("discover.required",
		"We can give what the destination requires: certifications and extension objects", "S1-021")

	checkIdentity = trace.NewCheck("own.certificate", "Our certificate is a leaf, fits the key, and counts now",
		"S1-072 S1-073 S1-074")
	checkURI       = trace.NewCheck("own.uri", "The client URI stands in our certificate", "S1-075 S1-076")
	checkStatement = trace.NewCheck("register.parameters",
		"The registration parameters keep the rules of their grant type", "S2-11")
	checkDemanded = trace.NewCheck("register.demanded",
		"Metadata that the community demands beyond the guide is given", "")
	checkPosted = trace.NewCheck("register.posted",
		"A software statement of at most five minutes was posted to the registration endpoint it names",
		"S1-071 S1-077 S1-078 S1-079 S1-080 S1-081")
	checkAccepted = trace.NewCheck("register.accepted", "The destination accepted the registration", "")
	checkClientID = trace.NewCheck("register.client_id", "The answer names our client_id", "S1-067")
	checkEcho     = trace.NewCheck("register.granted", "What was registered is what was asked for", "S2-10")

	checkB2B   = trace.NewCheck("token.hl7-b2b", "The extension object is complete", "S2-21 S1-202 S1-221")
	checkAsked = trace.NewCheck("token.posted",
		"An authentication token of at most five minutes was posted, with udap=1 and no other credential",
		"S2-20 S1-067 S1-160 S1-192 S1-223 S1-224 S1-225 S1-226 S1-227 S1-228")
	checkGiven    = trace.NewCheck("token.given", "The destination gave a bearer token", "")
	checkLifetime = trace.NewCheck("token.lifetime", "The token lives at most 60 minutes", "")
	checkScope    = trace.NewCheck("token.granted_scope", "The scopes granted are those asked for", "S2-15")

	checkAuthorize = trace.NewCheck("login.request",
		"The browser is sent to the signed authorization endpoint, with state and PKCE",
		"S1-245 S1-247 S1-248 S1-249 S1-250 S1-253 S1-256")
	checkRedirect = trace.NewCheck("login.answer",
		"What came back is the answer of that server to that request: state and iss", "S1-270 S1-272")
	checkOpenID = trace.NewCheck("openid.metadata",
		"The OpenID Connect metadata is the issuer's, and what it names stands at the issuer's origin", "")
	checkUserInfo = trace.NewCheck("openid.userinfo", "The answer is about the subject of the ID token", "")

	checkIDKeys      = trace.NewCheck("id_token.keys", "The issuer publishes the key of the ID token", "S1-282")
	checkIDSignature = trace.NewCheck("id_token.signature",
		"A key of the issuer made the signature, by one of its algorithms", "S1-282 S1-289")
	checkIDIssuer   = trace.NewCheck("id_token.iss", "iss is the issuer", "S1-282 S1-289")
	checkIDAudience = trace.NewCheck("id_token.aud", "aud is this client alone", "S1-282 S1-289")
	checkIDTimes    = trace.NewCheck("id_token.times",
		"The ID token is valid now, and the person signed in as recently as was asked for", "S1-282 S1-289")
	checkIDNonce   = trace.NewCheck("id_token.nonce", "nonce is the one that was sent", "S1-282 S1-289")
	checkIDSubject = trace.NewCheck("id_token.sub", "sub names a person", "S1-282 S1-289")
	checkIDHash    = trace.NewCheck("id_token.at_hash", "at_hash is that of the access token", "S1-290")

	checkTarget = trace.NewCheck("get.target",
		"The bearer token goes to the destination's own FHIR base and nowhere else", "S2-22")
	checkRead = trace.NewCheck("get.read", "The destination answered the request", "")
)

// The further checks of the doctor.
var (
	checkOwnChain = trace.NewCheck("doctor.own.chain",
		"Our chain is in order and leads to an anchor of the community", "")
	checkOwnFragment = trace.NewCheck("doctor.own.fragment",
		"Our certificate's URIs have the fragments that the community uses", "")
	checkWeb = trace.NewCheck("doctor.tls",
		"The web server's certificate lasts, and is no certificate of the community", "")
	checkAnchors = trace.NewCheck("doctor.anchors",
		"The community's anchors count now and are not those of web servers", "")
	checkServerCert = trace.NewCheck("doctor.server",
		"The destination's own certificate and signed metadata last", "")
	checkMembers = trace.NewCheck("doctor.members",
		"The discovery document has every required member, of the right type", "")
	checkWords  = trace.NewCheck("doctor.words", "No member looks like another one misspelt", "")
	checkHosts  = trace.NewCheck("doctor.hosts", "The endpoints stand at the host of the base URL", "")
	checkSmart  = trace.NewCheck("doctor.smart", "SMART configuration and UDAP metadata say the same", "")
	checkTiered = trace.NewCheck("doctor.tiered",
		"The scopes that Tiered OAuth and sign-in need are there, spelt right", "")
	checkPeople = trace.NewCheck("doctor.openid",
		"What clients need for signing people in is published, and is that of the signed endpoints", "")
	checkCapability = trace.NewCheck("doctor.capability",
		"The FHIR server answers at the base URL and calls itself by it", "")
)

// stop records that the originator does not go on.
func stop(tr *trace.Trace, c trace.Check, expected, found, remedy string) error {
	return tr.Refuse(c, CodeStopped, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   remedy,
	})
}
