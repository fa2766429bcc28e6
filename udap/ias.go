package udap

import (
	"fmt"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// IASKey is the name of TEFCA's extension object for individual access services
// (TEFCA SOP Facilitated FHIR Implementation 2.0, 6.11 and table 4).
const IASKey = "tefca_ias"

// individualAccess is the exchange purpose for which tefca_ias is required.
const individualAccess = "T-IAS"

// The checks on tefca_ias.
var (
	checkIAS = trace.NewCheck("b2b.tefca_ias",
		"A client for individual access sends tefca_ias with an id_token", "S1-198")
	checkIASVersion = trace.NewCheck("ias.version", `version is the string "1"`, "S1-202")
	checkIASUser    = trace.NewCheck("ias.user_information", "user_information is a valid FHIR RelatedPerson",
		"S1-198")
	checkIASPatient = trace.NewCheck("ias.patient_information", "patient_information is a valid FHIR Patient",
		"S1-198")
	checkIASConsent = trace.NewCheck("ias.consent",
		"consent_policy holds URIs; consent_reference comes with it and holds absolute URLs", "S1-217 S1-218")
	checkIASToken = trace.NewCheck("ias.id_token",
		"id_token is a signed token of OpenID Connect that is not expired", "S1-198")

	iasChecks = extensionChecks{
		version: checkIASVersion,
		consent: checkIASConsent,
	}
)

var iasMembers = []string{
	"version", "user_information", "patient_information", "consent_policy", "consent_reference", "id_token",
}

// IAS is a well-formed tefca_ias object, without its identity token and the
// particulars of persons: nothing here is decided by them.
type IAS struct {
	ConsentPolicy    []string
	ConsentReference []string // never fetched here
}

// ValidateIAS checks the tefca_ias object of an authentication token in a
// community with TEFCA's rules (Policy.PurposeFromSAN). required is whether the
// grant is one for which a client with the exchange purpose T-IAS must send it:
// client_credentials. It returns nil without an error when there is no object and
// none is required. A refusal is an *Error with the code invalid_grant.
//
// The signature of id_token is not verified: no identity provider's keys are
// configured, and the server gives no right because of it.
func ValidateIAS(
	ant *AuthenticationToken, p Policy, required bool, valid ResourceValidator, tr *trace.Trace,
) (*IAS, error) {
	if !p.PurposeFromSAN {
		return nil, nil
	}

	_, sent := ant.Extensions[IASKey]
	switch {
	case !sent && required && exchangePurpose(ant) == individualAccess:
		return nil, tr.Refuse(checkIAS, trace.InvalidGrant, trace.Finding{
			Expected: "a " + IASKey + " object beside hl7-b2b",
			Found:    "no " + IASKey + jose.Object(ant.Extensions).DidYouMean(IASKey),
		})
	case !sent:
		return nil, nil
	}

	x, err := openExtension(ant.Extensions, IASKey, checkIAS, iasChecks, p, tr)
	if err != nil {
		return nil, err
	}

	x.warnUnknown(IASKey, checkIAS, iasMembers)
	out := &IAS{}
	err = tr.Independent(
		x.version,
		func() error { return x.identityToken(tr.Time) },
		func() error { return x.particulars(checkIASUser, "user_information", "RelatedPerson", valid) },
		func() error { return x.particulars(checkIASPatient, "patient_information", "Patient", valid) },
		func() (err error) {
			out.ConsentPolicy, out.ConsentReference, err = x.consents()
			return err
		},
	)
	if err != nil {
		return nil, err
	}

	return out, nil
}

// particulars checks a resource that the SOP requires. One that is absent is
// accepted with a warning, as servers in the field do; one that is sent must be
// valid.
func (x *extension) particulars(c trace.Check, member, resourceType string, valid ResourceValidator) error {
	if !x.o.Has(member) {
		x.tr.Warn(c, trace.Finding{
			Expected: member + " as a FHIR " + resourceType + " (table 4 of the SOP)",
			Found:    x.o.Show(member),
			Remedy:   "accepted; a stricter server refuses this",
		})
		return nil
	}

	if _, err := x.resource(c, member, resourceType, valid); err != nil {
		return err
	}

	x.tr.Pass(c, "a valid "+resourceType, "valid")
	return nil
}

// identityToken checks id_token. It must be there; what else is wrong with it is
// recorded for the client's benefit, as the server does not rely on it.
func (x *extension) identityToken(now time.Time) error {
	token, ok := x.o.Text("id_token")
	if !ok || token == "" {
		found := "an empty id_token"
		if !ok {
			found = x.shape("id_token")
		}
		return x.refuse(checkIAS, IASKey+" with id_token", found,
			"send the token by which the identity provider attests the person")
	}

	x.tr.Pass(checkIAS, IASKey+" with id_token", "present")
	if fault := identityTokenFault(token, now, x.p.ClockSkew()); fault != "" {
		x.tr.Warn(checkIASToken, trace.Finding{
			Expected: "a signed token of OpenID Connect that is not expired",
			Found:    fault,
			Remedy:   "accepted, as nothing is decided by it here; a responder that matches people by it refuses it",
		})
		return nil
	}

	x.tr.Pass(checkIASToken, "a signed token that is not expired",
		"well-formed; its signature was not verified, as nothing is decided by it here")
	return nil
}

// identityTokenFault describes what is wrong with a token without repeating any
// of its values; empty: nothing.
func identityTokenFault(token string, now time.Time, skew time.Duration) string {
	parsed, fault := jose.Open(token, nil)
	if fault != nil {
		return "it is no compact JWS"
	}

	if alg, _ := parsed.Header.Text("alg"); alg == "" || strings.EqualFold(alg, "none") {
		return "it is not signed (" + parsed.Header.Show("alg") + ")"
	}

	for _, name := range []string{"iss", "sub"} {
		if text, _ := parsed.Claims.Text(name); text == "" {
			return "it has no " + name
		}
	}

	expires, wrong := numericDate(parsed.Claims, "exp")
	switch {
	case wrong != "":
		return "exp: " + wrong
	case !now.Before(expires.Add(skew)):
		return fmt.Sprintf("it expired %s ago", now.Sub(expires).Truncate(time.Second))
	}

	return ""
}
