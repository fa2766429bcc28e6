package jose

import (
	"fmt"
	"strings"
)

// misspelt lists names seen in the field by the name that was meant.
var misspelt = map[string][]string{
	"scope":                  {"scopes", "Scope"},
	"authorization_endpoint": {"authorize_endpoint", "auth_endpoint", "authorization_url"},
	"token_endpoint":         {"token_url", "token_uri"},
	"registration_endpoint":  {"register_endpoint", "registration_url"},
	"redirect_uris":          {"redirect_uri", "redirect_urls"},
	"grant_types":            {"grant_type"},
	"response_types":         {"response_type"},
	"contacts":               {"contact", "contact_uris"},
	"logo_uri":               {"logo_url", "logo"},
	"client_name":            {"name", "clientName"},
	"extensions":             {"extension", "Extensions"},
	"hl7-b2b":                {"hl7_b2b", "hl7b2b", "HL7-B2B"},
	"hl7-b2b-user":           {"hl7_b2b_user", "hl7-b2b_user", "hl7b2buser", "HL7-B2B-USER"},
	"user_person":            {"userPerson", "user-person", "person", "user"},
	"user_information":       {"userInformation", "user_person", "user"},
	"patient_information":    {"patientInformation", "patient"},
	"id_token":               {"idToken", "id-token"},
	"consent_policy":         {"consentPolicy", "consent_policies"},
	"consent_reference":      {"consentReference", "consent_references"},
	"tefca_ias":              {"tefca-ias", "tefcaIas"},
	"purpose_of_use":         {"purposeOfUse", "purpose-of-use", "purposes_of_use"},
	"organization_id":        {"organizationId", "organisation_id"},
	"x5c":                    {"X5C", "x5C", "x5u"},
	"alg":                    {"ALG", "Alg"},
}

// DidYouMean returns a hint that names a present member which was probably
// meant to be name, in parentheses and with a space before; empty if there is none.
func (o Object) DidYouMean(name string) string {
	for _, wrong := range misspelt[name] {
		if o.Has(wrong) {
			return fmt.Sprintf(" (there is %q: did you mean %q?)", wrong, name)
		}
	}

	for other := range o {
		if other != name && strings.EqualFold(other, name) {
			return fmt.Sprintf(" (there is %q: names are case-sensitive)", other)
		}
	}

	return ""
}
