package fault

import (
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/forge"
)

// All returns every fault of the catalogue.
func All() []Fault {
	return slices.Concat(forms, headers, certificates, names, times, registrations)
}

func header(name string, value any) map[string]any {
	return map[string]any{name: value}
}

func claim(name string, value any) map[string]any {
	return map[string]any{name: value}
}

// forms are mistakes in the compact form and the signature.
var forms = []Fault{
	{
		Name:   "no signature",
		Covers: "S1-002 case 016",
		Edit:   NoSignature,
		Check:  "jws.form",
	},
	{
		Name:   "padding",
		Covers: "case 031",
		Edit:   Padded,
		Check:  "jws.form",
	},
	{
		Name:   "a line break",
		Covers: "case 031",
		Edit:   LineBreak,
		Check:  "jws.form",
	},
	{
		Name:   "four segments",
		Covers: "S1-003 case 026",
		Edit:   FourSegments,
		Check:  "jws.form",
	},
	{
		Name:   "space around",
		Covers: "case 031",
		Edit:   SpaceAround,
		Check:  "jws.form",
	},
	{
		Name:   "a zero signature",
		Covers: "S1-073 S1-173 case 023",
		Edit:   ZeroSignature,
		Check:  "jws.signature",
	},
	{
		Name:   "a changed payload",
		Covers: "S1-074 S1-174 case 038",
		Edit:   ChangedPayload,
		Check:  "jws.signature",
	},
}

// headers are mistakes in the header other than x5c.
var headers = []Fault{
	{
		Name:   "alg none",
		Covers: "S1-002 case 016",
		Header: header("alg", "none"),
		Check:  "jws.alg",
	},
	{
		Name:   "alg HS256",
		Covers: "case 017",
		Header: header("alg", "HS256"),
		Check:  "jws.alg",
	},
	{
		Name:   "alg PS256",
		Covers: "case 020",
		Header: header("alg", "PS256"),
		Check:  "jws.alg",
	},
	{
		Name:   "alg in small letters",
		Covers: "case 020",
		Header: header("alg", "rs256"),
		Check:  "jws.alg",
	},
	{
		Name:   "no alg",
		Covers: "S1-007",
		Header: header("alg", forge.Absent),
		Check:  "jws.alg",
	},
	{
		Name:   "alg as a list",
		Covers: "S1-007",
		Header: header("alg", []string{"RS256"}),
		Check:  "jws.alg",
	},
	{
		Name:   "crit",
		Covers: "case 025",
		Header: header("crit", []string{"exp"}),
		Check:  "jws.header",
	},
	{
		Name:   "b64",
		Covers: "case 025",
		Header: header("b64", true),
		Check:  "jws.header",
	},
	{
		Name:   "zip",
		Covers: "case 025",
		Header: header("zip", "DEF"),
		Check:  "jws.header",
	},
	{
		Name:   "a number for kid",
		Covers: "case 029",
		Header: header("kid", 1),
		Check:  "jws.header",
	},
	{
		Name:   "an access token's typ",
		Covers: "case 029",
		Header: header("typ", "at+jwt"),
		Check:  "jws.header",
	},
	{
		Name:   "a DPoP proof's typ",
		Covers: "case 029",
		Header: header("typ", "dpop+jwt"),
		Check:  "jws.header",
	},
	{
		Name: "another thumbprint", Covers: "case 029",
		Header: header("x5t#S256", strings.Repeat("A", 43)), Check: "x5c.thumbprint",
	},
}

// certificates are mistakes in x5c.
var certificates = []Fault{
	{
		Name:   "no x5c",
		Covers: "S1-008 case 039",
		Header: header("x5c", forge.Absent),
		Check:  "x5c.form",
	},
	{
		Name:   "an empty x5c",
		Covers: "S1-008 case 039",
		Header: header("x5c", []string{}),
		Check:  "x5c.form",
	},
	{
		Name:   "x5c as a string",
		Covers: "S1-008 case 039",
		Header: header("x5c", "MIIB"),
		Check:  "x5c.form",
	},
	{
		Name:   "x5c null",
		Covers: "S1-008 case 039",
		Header: header("x5c", nil),
		Check:  "x5c.form",
	},
	{
		Name: "PEM in x5c", Covers: "case 040",
		Header: header("x5c", []string{"-----BEGIN CERTIFICATE-----"}), Check: "x5c.form",
	},
	{
		Name:   "x5u for x5c",
		Covers: "case 028",
		Header: map[string]any{
			"x5c": forge.Absent,
			"x5u": "https://x.test/",
		},
		Check: "x5c.form",
	},
	{
		Name:   "a reversed chain",
		Covers: "case 041",
		Chain:  Reversed,
		Check:  "jws.signature",
	},
}

// names are mistakes in iss, sub, aud and jti.
var names = []Fault{
	{
		Name: "another's iss", Covers: "S1-075 S1-106 case 057",
		Only: Statement, Claims: claim("iss", "https://evil.test/app"), Check: ".iss",
	},
	{
		Name:   "no iss",
		Covers: "S1-075",
		Only:   Statement,
		Claims: claim("iss", forge.Absent),
		Check:  ".iss",
	},
	{
		Name:   "another's sub",
		Covers: "S1-076 S1-154",
		Claims: claim("sub", "https://evil.test/app"),
		Check:  ".sub",
	},
	{
		Name:   "no aud",
		Covers: "S1-077 S1-155",
		Claims: claim("aud", forge.Absent),
		Check:  ".aud",
	},
	{
		Name: "another server's aud", Covers: "S1-077 S1-155 case 082",
		Claims: claim("aud", "https://evil.test/token"), Check: ".aud",
	},
	{
		Name: "two values of aud", Covers: "S2-19",
		Claims: claim("aud", []string{"https://a.test/", "https://b.test/"}), Check: ".aud",
	},
	{
		Name:   "no jti",
		Covers: "S1-081 S1-158",
		Claims: claim("jti", forge.Absent),
		Check:  ".jti",
	},
	{
		Name:   "an empty jti",
		Covers: "S1-081 S1-158",
		Claims: claim("jti", ""),
		Check:  ".jti",
	},
	{
		Name:   "a number for jti",
		Covers: "S1-081 S1-158",
		Claims: claim("jti", 7),
		Check:  ".jti",
	},
}

// times are mistakes in exp, iat and nbf.
var times = []Fault{
	{
		Name:   "no exp",
		Covers: "S1-078 S1-156",
		Claims: claim("exp", forge.Absent),
		Check:  ".exp",
	},
	{
		Name:   "exp as a string",
		Covers: "S1-078 S1-156",
		Claims: claim("exp", "1795348800"),
		Check:  ".exp",
	},
	{
		Name:   "expired",
		Covers: "S1-078 S1-156 case 084",
		Claims: map[string]any{
			"exp": At(-5 * time.Minute),
			"iat": At(-6 * time.Minute),
		},
		Check: ".exp",
	},
	{
		Name: "a life of six minutes", Covers: "S1-079 S1-160",
		Claims: claim("exp", At(6*time.Minute)), Check: ".lifetime",
	},
	{
		Name:   "exp before iat",
		Covers: "S1-079 S1-160",
		Claims: claim("exp", At(-time.Second)),
		Check:  ".lifetime",
	},
	{
		Name:   "no iat",
		Covers: "S1-080 S1-157",
		Claims: claim("iat", forge.Absent),
		Check:  ".iat",
	},
	{
		Name:   "issued ahead",
		Covers: "S1-080 S1-157 case 085",
		Claims: map[string]any{
			"exp": At(9 * time.Minute),
			"iat": At(6 * time.Minute),
		},
		Check: ".iat",
	},
	{
		Name:   "not valid yet",
		Covers: "S1-001",
		Claims: claim("nbf", At(6*time.Minute)),
		Check:  ".nbf",
	},
}

// registrations are mistakes in registration parameters.
var registrations = []Fault{
	statement("no grant", "S1-092", "grant_types", forge.Absent, "grant_types"),
	statement("both grants", "S1-092",
		"grant_types", []string{"client_credentials", "authorization_code"}, "grant_types"),
	statement("no name", "S1-083", "client_name", forge.Absent, "client_name"),
	statement("a control character in the name", "S1-083", "client_name", "a\nb", "client_name"),
	statement("a client secret", "S1-096",
		"token_endpoint_auth_method", "client_secret_basic", "token_endpoint_auth_method"),
	statement("a redirect URI for a machine", "S1-084",
		"redirect_uris", []string{"https://a.test/"}, "redirect_uris"),
	statement("a response type for a machine", "S1-095", "response_types", []string{"code"}, "response_types"),
	statement("contacts without mailto", "S1-087", "contacts", []string{"https://a.test/"}, "contacts"),
	statement("a logo on http", "S1-090", "logo_uri", "http://a.test/logo.png", "logo_uri"),
	statement("no scope", "S1-097", "scope", forge.Absent, "scope"),
	statement("two spaces in scope", "S1-097", "scope", "a  b", "scope"),
	statement("tos_uri on ftp", "S1-105", "tos_uri", "ftp://a.test/", "uris"),
}

func statement(name, covers, parameter string, value any, check string) Fault {
	return Fault{
		Name:   name,
		Covers: covers,
		Only:   Statement,
		Claims: claim(parameter, value),
		Check:  "registration." + check,
	}
}
