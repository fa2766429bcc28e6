package people

import (
	"slices"
	"strings"
	"unicode"

	"fhirdest.example/fhir/scope"
)

// item is what a person can agree to or not: one scope, or several of the same
// meaning.
type item struct {
	Scopes   []string
	Title    string
	Detail   string
	Required string // why it cannot be left out; empty: it can
	Ticked   bool
}

// Value is what the form sends for the item.
func (i item) Value() string { return strings.Join(i.Scopes, " ") }

// section is a group of items under a heading.
type section struct {
	Title string
	Note  string
	Items []item
}

// shapes are the kinds of scopes that are no resource scopes.
var others = map[string]item{
	"openid": {
		Title:    "Sign-in",
		Detail:   "Know that you are signed in, by an identifier that is not your name",
		Required: "The application needs it to recognise you.",
	},
	"fhirUser": {
		Title:  "Your own record",
		Detail: "Know which entry in the health record describes you",
	},
	"profile": {
		Title:  "Your name",
		Detail: "See the name of your account",
	},
	"launch": {
		Title:    "Where you started",
		Detail:   "Know the patient and visit that you had open",
		Required: "The application was started from there.",
	},
	"launch/patient": {
		Title:    "The chosen patient",
		Detail:   "Know whose record this is about",
		Required: "What is shared is always about one patient.",
	},
	"launch/encounter": {
		Title:  "The visit",
		Detail: "Know the visit or stay that this is about",
	},
	"offline_access": {
		Title:  "Access while you are away",
		Detail: "Stay connected for 90 days, or until you withdraw it",
	},
	"online_access": {
		Title:  "Access while you are signed in",
		Detail: "Stay connected until you sign out here",
	},
	"udap": {
		Title:    "Sign-in elsewhere",
		Detail:   "You signed in at an identity provider that the application chose",
		Required: "You have done so already.",
	},
}

// sections puts scopes into words, in the order in which the page shows them.
// ticked reports whether a scope is agreed to unless the person changes it.
func sections(scopes []string, patient string, ticked func(string) bool) []section {
	var about, record, own, connected []item
	for _, text := range scopes {
		if s, err := scope.Parse(text); err == nil {
			list := &own
			if s.Context == "patient" {
				list = &record
			}
			*list = merged(*list, resourceItem(s))
			continue
		}

		i, known := others[text]
		if !known {
			i = item{
				Title:  text,
				Detail: "A right of this name",
			}
		}

		i.Scopes = []string{text}
		switch {
		case staysConnected(text):
			connected = append(connected, i)
			continue
		case strings.HasPrefix(text, "launch"):
			record = append(record, i)
			continue
		}
		about = append(about, i)
	}

	var out []section
	for _, s := range []section{
		{"Health record of " + patient, "", record},
		{"Health records that you can open yourself", "This is about every patient whose record you may see.", own},
		{"About you", "", about},
		{"How long", "", connected},
	} {
		for i := range s.Items {
			s.Items[i].Ticked = slices.ContainsFunc(s.Items[i].Scopes, ticked)
		}
		if len(s.Items) > 0 {
			out = append(out, s)
		}
	}

	return out
}

// merged adds an item to those of a section, or its scope to the item that has the
// same words.
func merged(list []item, i item) []item {
	for n := range list {
		if list[n].Title == i.Title && list[n].Detail == i.Detail {
			list[n].Scopes = append(list[n].Scopes, i.Scopes...)
			return list
		}
	}
	return append(list, i)
}

func resourceItem(s scope.Scope) item {
	i := item{
		Scopes: []string{s.Raw},
		Title:  typeWords(s.Type),
		Detail: actionWords(s.Allowed),
	}

	var limits []string
	for _, p := range s.Query {
		limits = append(limits, p.Name+" "+p.Value)
	}
	if len(limits) > 0 {
		i.Detail += ", only where " + strings.Join(limits, " and ")
	}

	return i
}

// actionWords names what a scope allows.
func actionWords(p scope.Permission) string {
	var verbs []string
	if p&(scope.Read|scope.Search) != 0 {
		verbs = append(verbs, "see")
	}

	for _, v := range []struct {
		of   scope.Permission
		verb string
	}{
		{scope.Create, "add"},
		{scope.Update, "change"},
		{scope.Delete, "delete"},
	} {
		if p&v.of != 0 {
			verbs = append(verbs, v.verb)
		}
	}

	text := strings.Join(verbs, ", ")
	if n := strings.LastIndex(text, ", "); n >= 0 {
		text = text[:n] + " and " + text[n+2:]
	}

	return "Can " + text
}

// inWords are the types that clients usually ask for, as patients call them.
var inWords = map[string]string{
	"*":                        "Everything in the record",
	"AllergyIntolerance":       "Allergies and intolerances",
	"Appointment":              "Appointments",
	"Binary":                   "Attached files",
	"CarePlan":                 "Care plans",
	"CareTeam":                 "Care teams",
	"Claim":                    "Insurance claims",
	"Condition":                "Conditions and diagnoses",
	"Consent":                  "Consents",
	"Coverage":                 "Insurance coverage",
	"Device":                   "Devices and implants",
	"DiagnosticReport":         "Test reports",
	"DocumentReference":        "Documents and notes",
	"Encounter":                "Visits and stays",
	"ExplanationOfBenefit":     "Insurance statements",
	"FamilyMemberHistory":      "Family history",
	"Goal":                     "Health goals",
	"ImagingStudy":             "X-rays and scans",
	"Immunization":             "Vaccinations",
	"Location":                 "Places of care",
	"Medication":               "Medicines",
	"MedicationAdministration": "Medicines given",
	"MedicationDispense":       "Medicines from the pharmacy",
	"MedicationRequest":        "Prescriptions",
	"MedicationStatement":      "Medicines taken",
	"Observation":              "Measurements and test results",
	"Organization":             "Hospitals and practices",
	"Patient":                  "Name, birth date and contact details",
	"Person":                   "Personal details",
	"Practitioner":             "Doctors and other staff",
	"PractitionerRole":         "Roles of doctors and other staff",
	"Procedure":                "Operations and procedures",
	"Provenance":               "Where entries come from",
	"QuestionnaireResponse":    "Answers to questionnaires",
	"RelatedPerson":            "Relatives and carers",
	"ServiceRequest":           "Orders and referrals",
	"Specimen":                 "Samples",
}

// typeWords names a type of resource.
func typeWords(name string) string {
	if words, ok := inWords[name]; ok {
		return words
	}

	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}

	return b.String()
}

// staysConnected reports whether a scope gives access to nothing, but has that of
// others last.
func staysConnected(text string) bool {
	return text == "offline_access" || text == "online_access"
}
