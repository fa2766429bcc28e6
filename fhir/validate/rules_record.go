package validate

import (
	"slices"
	"strings"

	"fhirdest.example/fhir/tree"
)

// Systems whose codes invariants name.
const (
	conditionClinical   = "http://terminology.hl7.org/CodeSystem/condition-clinical"
	conditionVerStatus  = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
	allergyVerification = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
)

// recordRules are the invariants of resources and their parts.
func recordRules() map[string][]rule {
	all := map[string][]rule{
		"AllergyIntolerance": {{
			"ait-1",
			"clinicalStatus is needed, unless it was entered in error, and then must not be there (ait-2)",
			func(v *tree.Value) bool {
				return has(v, "clinicalStatus") != coded(v.Get("verificationStatus"), allergyVerification,
					"entered-in-error")
			},
		}},
		"AuditEvent.entity": {apart("sev-1", "name", "query")},
		"CarePlan.activity": {apart("cpl-3", "detail", "reference")},
		"Composition.section": {
			some("cmp-1", "text", "entry", "section"),
			apart("cmp-2", "emptyReason", "entry"),
		},
		"Condition": {
			{"con-4", "what has abated is inactive, resolved or in remission", func(v *tree.Value) bool {
				return !has(v, "abatement[x]") ||
					coded(
						v.Get("clinicalStatus"),
						conditionClinical,
						"resolved",
						"remission",
						"inactive",
					)
			}},
			{"con-5", "what was entered in error has no clinicalStatus", func(v *tree.Value) bool {
				return !coded(v.Get("verificationStatus"), conditionVerStatus, "entered-in-error") ||
					!has(v, "clinicalStatus")
			}},
		},
		"Condition.stage":    {some("con-1", "summary", "assessment")},
		"Condition.evidence": {some("con-2", "code", "detail")},
		"Consent":            {some("ppc-1", "policy", "policyRule")},
		"CoverageEligibilityResponse.insurance.item": {one("ces-1", "category", "productOrService")},
		"FamilyMemberHistory": {
			apart("fhs-1", "age[x]", "born[x]"),
			needs("fhs-2", "estimatedAge", "age[x]"),
		},
		"Goal.target": {needs("gol-1", "detail[x]", "measure")},
		"Group": {{"grp-1", "only an actual group has members", func(v *tree.Value) bool {
			return !has(v, "member") || v.Get("actual").Literal() == "true"
		}}},
		"Immunization.education":                    {some("imm-1", "documentType", "reference")},
		"ImmunizationRecommendation.recommendation": {some("imr-1", "vaccineCode", "targetDisease")},
		"InsurancePlan":                             {some("ipn-1", "identifier", "name")},
		"Linkage": {{"lnk-1", "a linkage has more than one item", func(v *tree.Value) bool {
			return len(v.Get("item").Each()) > 1
		}}},
		"List":                            listRules(),
		"MedicationAdministration.dosage": {some("mad-1", "dose", "rate[x]")},
		"MedicationDispense": {{"mdd-1", "nothing is handed over before it is prepared", func(v *tree.Value) bool {
			return notAfter(v.Get("whenPrepared"), v.Get("whenHandedOver"))
		}}},
		"Observation": {
			apart("obs-6", "dataAbsentReason", "value[x]"),
			{
				"obs-7",
				"a component with the observation's own code takes the place of its value",
				ownComponent,
			},
		},
		"Observation.referenceRange": {some("obs-3", "low", "high", "text")},
		"Organization": {
			some("org-1", "identifier", "name"),
			{"org-2", "an organisation has no home address", noHome("address")},
			{"org-3", "an organisation has no home telephone", noHome("telecom")},
		},
		"Patient.contact": {
			some("pat-1", "name", "telecom", "address", "organization"),
		},
		"QuestionnaireResponse.item": {apart("qrs-1", "answer", "item")},
		"RequestGroup.action":        {one("rqg-1", "resource", "action")},
		"RiskAssessment.prediction": {{"ras-2", "a probability is at most 100", func(v *tree.Value) bool {
			n, ok := number(v.Get("probabilityDecimal"))
			return !ok || n <= 100
		}}},
		"ServiceRequest": {needs("prr-1", "orderDetail", "code")},
		"Task": {{"inv-1", "lastModified must not be before authoredOn", func(v *tree.Value) bool {
			return notAfter(v.Get("authoredOn"), v.Get("lastModified"))
		}}},
	}

	for name, list := range appointmentRules() {
		all[name] = list
	}

	for name, list := range questionnaireRules() {
		all[name] = list
	}

	return all
}

func noHome(member string) func(*tree.Value) bool {
	return func(v *tree.Value) bool {
		return !slices.ContainsFunc(v.Get(member).Each(), func(x tree.Value) bool {
			return x.Get("use").Text() == "home"
		})
	}
}

// ownComponent holds when the observation has a value and a component of its
// own code does not.
func ownComponent(v *tree.Value) bool {
	if !has(v, "value[x]") {
		return true
	}

	own := map[string]bool{}
	for _, c := range v.At("code", "coding").Each() {
		own[c.Raw] = true
	}

	for _, part := range v.Get("component").Each() {
		for _, c := range part.At("code", "coding").Each() {
			if own[c.Raw] {
				return false
			}
		}
	}

	return true
}

func listRules() []rule {
	without := func(mode, member string) func(*tree.Value) bool {
		return func(v *tree.Value) bool {
			return v.Get("mode").Text() == mode ||
				!slices.ContainsFunc(v.Get("entry").Each(), func(e tree.Value) bool {
					return has(&e, member)
				})
		}
	}
	return []rule{
		apart("lst-1", "emptyReason", "entry"),
		{
			"lst-2",
			"entries are deleted in a list of changes only",
			without("changes", "deleted"),
		},
		{"lst-3", "entries are dated in a working list only", without("working", "date")},
	}
}

func appointmentRules() map[string][]rule {
	return map[string][]rule{
		"Appointment": {
			{"app-2", "start and end come together", func(v *tree.Value) bool {
				return has(v, "start") == has(v, "end")
			}},
			{"app-3", "start and end are needed, unless proposed, cancelled or waitlisted", func(v *tree.Value) bool {
				return has(v, "start") && has(v, "end") ||
					among(v.Get("status").Text(), "proposed", "cancelled", "waitlist")
			}},
			{"app-4", "only what was cancelled or not kept has a reason for it", func(v *tree.Value) bool {
				return !has(v, "cancelationReason") ||
					among(v.Get("status").Text(), "noshow", "cancelled")
			}},
		},
		"Appointment.participant": {some("app-1", "type", "actor")},
		"AppointmentResponse":     {some("apr-1", "participantType", "actor")},
	}
}

func questionnaireRules() map[string][]rule {
	kind := func(v *tree.Value, list ...string) bool {
		return among(v.Get("type").Text(), list...)
	}
	display := func(key, member string) rule {
		return rule{key, "a display item has no " + member, func(v *tree.Value) bool {
			return !kind(v, "display") || !has(v, member)
		}}
	}
	return map[string][]rule{
		"Questionnaire": {{"que-2", "each linkId is there once in a questionnaire", func(v *tree.Value) bool {
			return distinctLinks(v, map[string]bool{})
		}}},
		"Questionnaire.item": {
			{"que-1", "a group has items, a display has none", func(v *tree.Value) bool {
				return !(kind(v, "group") && !has(v, "item")) && !(kind(v, "display") && has(v, "item"))
			}},
			display("que-3", "code"), display("que-6",
				"required"), display("que-6", "repeats"), display("que-9", "readOnly"),
			apart("que-4", "answerOption", "answerValueSet"),
			{"que-5", "this type of item has no list of answers", func(v *tree.Value) bool {
				return kind(v, "choice", "open-choice", "decimal", "integer", "date", "dateTime", "time",
					"string",
					"quantity") ||
					!has(v, "answerValueSet") && !has(v, "answerOption")
			}},
			{"que-8", "a group or display has no initial value", func(v *tree.Value) bool {
				return !kind(v, "group", "display") || !has(v, "initial")
			}},
			{"que-10", "this type of item has no maximum length", func(v *tree.Value) bool {
				return kind(v, "boolean", "decimal", "integer", "string", "text", "url", "open-choice") ||
					!has(v, "maxLength")
			}},
			apart("que-11", "answerOption", "initial"),
			{"que-12", "more than two conditions need enableBehavior", func(v *tree.Value) bool {
				return len(v.Get("enableWhen").Each()) <= 2 || has(v, "enableBehavior")
			}},
			{"que-13", "only a repeating item has several initial values", func(v *tree.Value) bool {
				return v.Get("repeats").Literal() == "true" || len(v.Get("initial").Each()) <= 1
			}},
		},
		"Questionnaire.item.enableWhen": {{"que-7", "exists is answered by true or false", func(v *tree.Value) bool {
			return v.Get("operator").Text() != "exists" || has(v, "answerBoolean")
		}}},
	}
}

// distinctLinks reports whether no linkId below v is there twice.
func distinctLinks(v *tree.Value, met map[string]bool) bool {
	for _, item := range v.Get("item").Each() {
		link := strings.TrimSpace(item.Get("linkId").Text())
		if met[link] {
			return false
		}

		met[link] = true
		if !distinctLinks(&item, met) {
			return false
		}
	}

	return true
}
