package udap

import "strings"

// The checks on any signed thing, in the order in which they are made.
var (
	checkForm = Check{
		"jws.form",
		"A compact JWS of three strict segments, each JSON object with every member once",
		ids("S1-001 S1-002 S1-003 S1-161"),
	}
	checkHeaders = Check{
		"jws.header",
		"No header that changes what is signed or how it is read",
		ids("S1-002 S1-007"),
	}
	checkAlg = Check{
		"jws.alg",
		"alg is one of RS256, ES256, RS384, ES384 and fits the signer's key",
		ids("S1-004 S1-005 S1-006 S1-007 S1-045 S2-04"),
	}
	checkX5C = Check{
		"x5c.form",
		"x5c holds the signer's certificate first, in base64 DER",
		ids("S1-008 S1-072 S1-152 S1-175"),
	}
	checkSignerKey = Check{
		"x5c.key",
		"The signer's key is RSA of 2048 bits or more, P-256 or P-384, and sound",
		ids("S1-002"),
	}
	checkThumbprint = Check{"x5c.thumbprint", "x5t and x5t#S256, where present, name x5c[0]", ids("S1-002")}
	checkSignature  = Check{
		"jws.signature",
		"The signature was made by the key of x5c[0]",
		ids("S1-073 S1-074 S1-105 S1-173 S1-174"),
	}
)

// The checks on certificates.
var (
	checkPath = Check{
		"chain.path",
		"A path leads from the leaf to an anchor of a trust community",
		ids("S1-105 S1-176 S1-183"),
	}
	checkCertForm = Check{
		"chain.form",
		"Certificates are X.509 v3 with sound serials and no critical extension that is not understood",
		ids("S1-105 S1-176"),
	}
	checkCertKey = Check{"chain.key", "Every key on the path is strong enough", ids("S1-105 S1-176")}
	checkCertSig = Check{
		"chain.signature",
		"Every certificate is signed by the next one with SHA-256 or better",
		ids("S1-105 S1-176"),
	}
	checkCertCA = Check{
		"chain.ca",
		"Issuers are CAs that may sign certificates, within their path lengths",
		ids("S1-105 S1-176"),
	}
	checkCertDates = Check{
		"chain.validity",
		"Every certificate on the path is within its dates",
		ids("S1-105 S1-176"),
	}
	checkCertNames = Check{
		"chain.names",
		"Names stay within the name constraints of their issuers (RFC 5280 4.2.1.10)",
		ids("S1-105 S1-176"),
	}
	checkCertPolicy = Check{
		"chain.policy",
		"Certificate policies of the path are valid (RFC 5280 6.1)",
		ids("S1-105 S1-176"),
	}
	checkLeaf = Check{
		"chain.leaf",
		"The signer's certificate is an end entity's and may sign",
		ids("S1-105 S1-176"),
	}
	checkUsage = Check{
		"chain.usage",
		"The leaf has an extended key usage that the community asks for",
		ids("S1-105 S1-176"),
	}
	checkRevocation = Check{
		"chain.revocation",
		"No certificate of the path is revoked, and that is known",
		ids("S1-105 S1-176"),
	}
	checkCommunities = Check{"community.alg", "The community accepts the algorithm", ids("S1-042 S1-045")}
)

// claimChecks are the checks on the claims of one kind of JWT.
type claimChecks struct {
	iss, sub, aud, exp, iat, lifetime, nbf, jti Check
}

var statementChecks = claimChecks{
	iss: Check{
		"statement.iss",
		"iss is a URI of the certificate's Subject Alternative Name, byte for byte",
		ids("S1-075 S1-101 S1-106 S2-19"),
	},
	sub: Check{"statement.sub", "sub equals iss", ids("S1-076 S1-107")},
	aud: Check{
		"statement.aud",
		"aud is the registration endpoint, and nothing else",
		ids("S1-077 S1-103 S1-108 S2-19"),
	},
	exp:      Check{"statement.exp", "The statement has not expired", ids("S1-078 S1-109")},
	iat:      Check{"statement.iat", "The statement was not issued in the future", ids("S1-080")},
	lifetime: Check{"statement.lifetime", "exp is after iat by five minutes at most", ids("S1-079 S1-104 S2-11")},
	nbf:      Check{"statement.nbf", "The statement is valid already", ids("S1-001")},
	jti:      Check{"statement.jti", "jti is a non-empty string", ids("S1-081")},
}

var assertionChecks = claimChecks{
	iss: Check{"assertion.iss", "iss is a client_id that is registered here", ids("S1-153 S1-177")},
	sub: Check{"assertion.sub", "sub equals iss", ids("S1-154 S1-177 S1-193")},
	aud: Check{
		"assertion.aud",
		"aud is the URL of the endpoint, and nothing else",
		ids("S1-155 S1-179 S1-194 S2-19"),
	},
	exp:      Check{"assertion.exp", "The authentication token has not expired", ids("S1-156 S1-180 S1-195")},
	iat:      Check{"assertion.iat", "The authentication token was not issued in the future", ids("S1-157 S1-196")},
	lifetime: Check{"assertion.lifetime", "exp is after iat by five minutes at most", ids("S1-160 S1-181")},
	nbf:      Check{"assertion.nbf", "The authentication token is valid already", ids("S1-001")},
	jti:      Check{"assertion.jti", "jti is a non-empty string", ids("S1-158 S1-197")},
}

// The further checks on authentication tokens.
var (
	checkBinding = Check{
		"assertion.certificate",
		"The certificate has the URI to which the client's registration is bound, in the same community",
		ids("S1-177 S2-08"),
	}
	checkClientID = Check{
		"assertion.client_id",
		"The client_id parameter, where sent, equals iss and sub",
		ids("S1-178"),
	}
	checkAntScope = Check{
		"assertion.scope",
		"The scope claim, where present, is a list of scopes",
		ids("S1-172 S1-229"),
	}
)

// Checks lists every check that this package makes.
func Checks() []Check {
	out := []Check{
		checkForm, checkHeaders, checkAlg, checkX5C, checkSignerKey, checkThumbprint, checkSignature,
		checkPath, checkCertForm, checkCertKey, checkCertSig, checkCertCA, checkCertDates, checkCertNames,
		checkCertPolicy, checkLeaf, checkUsage, checkAIA, checkJKU, checkRevocation, checkCommunities,
		checkBinding, checkClientID, checkAntScope,
	}

	for _, c := range []claimChecks{statementChecks, assertionChecks, metadataChecks, certificationChecks} {
		for _, k := range []Check{c.iss, c.sub, c.aud, c.exp, c.iat, c.lifetime, c.nbf, c.jti} {
			if k.Name != "" {
				out = append(out, k)
			}
		}
	}

	out = append(out, checkDocument, checkMetaAlg, checkMetaBase, checkEndpoints)
	out = append(out, registrationChecks()...)
	out = append(out, b2bChecks()...)
	out = append(out, certificationOwnChecks()...)
	return out
}

func ids(list string) []string { return strings.Fields(list) }
