package client

import "fhirdest.example/udap"

// CodeStopped is the code of a refusal that is the originator's own: it did
// not go on. It never goes over the wire.
const CodeStopped udap.Code = "stopped"

// The checks of an originator, in the order in which they are met.
var (
	checkConnect = udap.Check{
		Name:         "reply.connect",
		Title:        "The destination answers, over TLS, under a certificate of its name",
		Requirements: []string{"S1-013"},
	}
	checkClock = udap.Check{Name: "reply.clock", Title: "The destination's clock and ours agree"}
	checkBody  = udap.Check{
		Name:         "reply.body",
		Title:        "The answer is JSON of bounded size",
		Requirements: []string{"S1-016"},
	}

	checkFound = udap.Check{
		Name:         "discover.found",
		Title:        "The destination supports UDAP, for the community asked for",
		Requirements: []string{"S1-016", "S1-060", "S1-061"},
	}
	checkSigned = udap.Check{
		Name:         "discover.signed_metadata",
		Title:        "The metadata is signed; without that nothing goes on",
		Requirements: []string{"S2-07", "S2-06", "S1-021"},
	}
	checkSlash = udap.Check{
		Name:  "discover.slash",
		Title: "The base URL has its canonical form",
	}
	checkEndpoints = udap.Check{
		Name:  "discover.endpoints",
		Title: "Registration and token endpoint are those of one authorization server",
	}
	checkProfiles = udap.Check{
		Name:         "discover.profiles",
		Title:        "The profiles that this workflow needs are supported",
		Requirements: []string{"S1-020"},
	}
	checkGrant = udap.Check{
		Name:         "discover.grant",
		Title:        "The grant type is supported",
		Requirements: []string{"S1-020", "S1-021"},
	}
	checkAlgorithm = udap.Check{
		Name:         "discover.algorithm",
		Title:        "The destination accepts our signature algorithm",
		Requirements: []string{"S1-004", "S1-005", "S1-006", "S1-021"},
	}
	checkNeeds = udap.Check{
		Name:         "discover.required",
		Title:        "We can give what the destination requires: certifications and extension objects",
		Requirements: []string{"S1-021"},
	}

	checkIdentity = udap.Check{
		Name:         "own.certificate",
		Title:        "Our certificate is a leaf, fits the key, and counts now",
		Requirements: []string{"S1-072", "S1-073", "S1-074"},
	}
	checkURI = udap.Check{
		Name:         "own.uri",
		Title:        "The client URI stands in our certificate",
		Requirements: []string{"S1-075", "S1-076"},
	}
	checkStatement = udap.Check{
		Name:         "register.parameters",
		Title:        "The registration parameters keep the rules of their grant type",
		Requirements: []string{"S2-11"},
	}
	checkDemanded = udap.Check{
		Name:  "register.demanded",
		Title: "Metadata that the community demands beyond the guide is given",
	}
	checkPosted = udap.Check{
		Name:         "register.posted",
		Title:        "A software statement of at most five minutes was posted to the registration endpoint it names",
		Requirements: []string{"S1-071", "S1-077", "S1-078", "S1-079", "S1-080", "S1-081"},
	}
	checkAccepted = udap.Check{
		Name:  "register.accepted",
		Title: "The destination accepted the registration",
	}
	checkClientID = udap.Check{
		Name:         "register.client_id",
		Title:        "The answer names our client_id",
		Requirements: []string{"S1-067"},
	}
	checkEcho = udap.Check{
		Name:         "register.granted",
		Title:        "What was registered is what was asked for",
		Requirements: []string{"S2-10"},
	}

	checkB2B = udap.Check{
		Name:         "token.hl7-b2b",
		Title:        "The extension object is complete",
		Requirements: []string{"S2-21", "S1-202", "S1-221"},
	}
	checkAsked = udap.Check{
		Name:  "token.posted",
		Title: "An authentication token of at most five minutes was posted, with udap=1 and no other credential",
		Requirements: []string{
			"S2-20", "S1-067", "S1-160", "S1-192", "S1-223", "S1-224", "S1-225", "S1-226",
			"S1-227", "S1-228",
		},
	}
	checkGiven    = udap.Check{Name: "token.given", Title: "The destination gave a bearer token"}
	checkLifetime = udap.Check{Name: "token.lifetime", Title: "The token lives at most 60 minutes"}
	checkScope    = udap.Check{
		Name:         "token.scope",
		Title:        "The scopes granted are those asked for",
		Requirements: []string{"S2-15"},
	}

	checkTarget = udap.Check{
		Name:         "get.target",
		Title:        "The bearer token goes to the destination's own FHIR base and nowhere else",
		Requirements: []string{"S2-22"},
	}
	checkRead = udap.Check{Name: "get.read", Title: "The destination answered the request"}
)

// The further checks of the doctor.
var (
	checkOwnChain = udap.Check{
		Name:  "doctor.own.chain",
		Title: "Our chain is in order and leads to an anchor of the community",
	}
	checkOwnFragment = udap.Check{
		Name:  "doctor.own.fragment",
		Title: "Our certificate's URIs have the fragments that the community uses",
	}
	checkWeb = udap.Check{
		Name:  "doctor.tls",
		Title: "The web server's certificate lasts, and is no certificate of the community",
	}
	checkAnchors = udap.Check{
		Name:  "doctor.anchors",
		Title: "The community's anchors count now and are not those of web servers",
	}
	checkServerCert = udap.Check{
		Name:  "doctor.server",
		Title: "The destination's own certificate and signed metadata last",
	}
	checkMembers = udap.Check{
		Name:  "doctor.members",
		Title: "The discovery document has every required member, of the right type",
	}
	checkWords = udap.Check{
		Name:  "doctor.words",
		Title: "No member looks like another one misspelt",
	}
	checkHosts = udap.Check{
		Name:  "doctor.hosts",
		Title: "The endpoints stand at the host of the base URL",
	}
	checkSmart = udap.Check{
		Name:  "doctor.smart",
		Title: "SMART configuration and UDAP metadata say the same",
	}
	checkTiered = udap.Check{
		Name:  "doctor.tiered",
		Title: "The scopes that Tiered OAuth and sign-in need are there, spelt right",
	}
	checkCapability = udap.Check{
		Name:  "doctor.capability",
		Title: "The FHIR server answers at the base URL and calls itself by it",
	}
)

// Checks lists what this package checks.
func Checks() []udap.Check {
	return []udap.Check{
		checkConnect, checkClock, checkBody,
		checkFound, checkSlash, checkSigned, checkEndpoints, checkProfiles, checkGrant, checkAlgorithm, checkNeeds,
		checkIdentity, checkURI, checkStatement, checkDemanded, checkPosted, checkAccepted, checkClientID, checkEcho,
		checkB2B, checkAsked, checkGiven, checkLifetime, checkScope,
		checkTarget, checkRead,
		checkOwnChain, checkOwnFragment, checkWeb, checkAnchors, checkServerCert, checkMembers, checkWords, checkHosts,
		checkSmart, checkTiered, checkCapability,
	}
}

// stop records that the originator does not go on.
func stop(tr *udap.Trace, c udap.Check, expected, found, remedy string) error {
	return tr.Refuse(c, CodeStopped, udap.Finding{Expected: expected, Found: found, Remedy: remedy})
}
