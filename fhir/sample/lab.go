package sample

import "time"

const (
	interpretation = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
	absentReason   = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
	icd10pcs       = "http://www.cms.gov/Medicare/Coding/ICD10"
)

// test is one laboratory measurement with its normal range.
type test struct {
	kind, loinc, name, unit string
	low, high               float64
	digits                  int
}

var tests = []test{
	{"glucose", "2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 70, 99, 0},
	{
		"creatinine", "2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.60, 1.20,
		2,
	},
	{"calcium", "17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", 8.5, 10.2, 1},
	{
		"bilirubin", "1975-2", "Bilirubin.total [Mass/volume] in Serum or Plasma", "mg/dL", 0.1,
		1.2, 1,
	},
}

// laboratory writes a specimen, what was measured in it, and the report; one
// result of each is missing, with the reason.
func laboratory(w *writer, p *person) {
	specimen := p.sub("spec", 1)
	w.put("Specimen", specimen, usCore+"specimen",
		"identifier", arr{identifier(hospital+"specimen", specimen)},
		"accessionIdentifier", identifier(hospital+"accession", "A-"+specimen),
		"type", concept(snomed, "119364003", "Serum sample"),
		"subject", p.ref(),
		"collection", obj{"collectedDateTime", instant(p.last().Add(10 * time.Minute)),
			"bodySite", concept(snomed, "368209003", "Right arm")},
		"condition", arr{
			concept("http://terminology.hl7.org/CodeSystem/v2-0493", "HEM", "Hemolyzed"),
		})

	results := arr{}
	for _, t := range tests {
		results = append(results, ref("Observation", p.sub(t.kind, 1)))
		w.put("Observation", p.sub(t.kind, 1), usCore+"observation-lab", p.labMembers(t, specimen)...)
	}

	missing := test{
		kind:  "chloride",
		loinc: "2075-0",
		name:  "Chloride [Moles/volume] in Serum or Plasma",
	}
	w.put("Observation", p.sub(missing.kind, 1), usCore+"observation-lab",
		append(p.labHead(missing, specimen, "cancelled"),
			"dataAbsentReason", concept(absentReason, "unknown", "Unknown"))...)

	w.put("DiagnosticReport", p.sub("report", 1), usCore+"diagnosticreport-lab",
		"status", "final",
		"category", arr{
			concept("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB", "Laboratory"),
		},
		"code", concept(loinc, "24323-8", "Comprehensive metabolic 2000 panel - Serum or Plasma"),
		"subject", p.ref(),
		"encounter", p.encounterRef(visits),
		"effectiveDateTime", instant(p.last().Add(10*time.Minute)),
		"issued", instant(p.last().Add(24*time.Hour)),
		"performer", arr{p.clinicRef()},
		"specimen", arr{ref("Specimen", specimen)},
		"result", results)
}

func (p *person) labHead(t test, specimen, status string) []any {
	return []any{
		"status", status,
		"category", arr{concept(obsCategory, "laboratory", "Laboratory")},
		"code", concept(loinc, t.loinc, t.name),
		"subject", p.ref(),
		"encounter", p.encounterRef(visits),
		"effectiveDateTime", instant(p.last().Add(10 * time.Minute)),
		"issued", instant(p.last().Add(20 * time.Hour)),
		"performer", arr{p.clinicRef()},
		"specimen", ref("Specimen", specimen),
	}
}

func (p *person) labMembers(t test, specimen string) []any {
	share := float64(p.r.Float64()*1.4) - 0.2 // of the range, sometimes outside; see draw
	value := max(0, t.low+float64((t.high-t.low)*share))
	flag := concept(interpretation, "N", "Normal")
	if value > t.high {
		flag = concept(interpretation, "H", "High")
	} else if value < t.low {
		flag = concept(interpretation, "L", "Low")
	}

	return append(p.labHead(t, specimen, "final"),
		"valueQuantity", quantity(decimal(value, t.digits), t.unit, t.unit),
		"interpretation", arr{flag},
		"referenceRange", arr{obj{
			"low", quantity(decimal(t.low, t.digits), t.unit, t.unit),
			"high", quantity(decimal(t.high, t.digits), t.unit, t.unit),
			"text", "normal range of adults"}})
}

// imaging writes a request, an X-ray report with its picture, and what it
// found.
func imaging(w *writer, p *person) {
	request, media, report := p.sub("request", 1), p.sub("media", 1), p.sub("report", 2)
	serviceRequests(w, p, request)
	w.put("Media", media, "",
		"status", "completed",
		"type", concept("http://terminology.hl7.org/CodeSystem/media-type", "image", "Image"),
		"subject", p.ref(),
		"createdDateTime", instant(p.visit(0)),
		"content", inline("image/png", []byte(onePixel), "Chest X-ray"))

	exam := []any{"status", "final", "category", arr{concept(obsCategory, "imaging", "Imaging")},
		"code", concept(loinc, "19005-8", "Radiology Imaging study [Impression] (narrative)"),
		"subject", p.ref(), "encounter", p.encounterRef(1), "effectiveDateTime", instant(p.visit(0))}
	w.put("Observation", p.sub("xray", 1), usCore+"observation-clinical-result",
		append(exam, "valueString", "No acute finding.")...)
	w.put("Observation", p.sub("xray", 2), usCore+"observation-clinical-result",
		append(exam[:len(exam):len(exam)],
			"dataAbsentReason", concept(absentReason, "unknown", "Unknown"))...)

	w.put("DiagnosticReport", report, usCore+"diagnosticreport-note",
		"basedOn", arr{ref("ServiceRequest", request)},
		"status", "final",
		"category", arr{concept(loinc, "LP29684-5", "Radiology")},
		"code", concept(loinc, "18782-3", "Radiology Study observation (narrative)"),
		"subject", p.ref(),
		"encounter", p.encounterRef(1),
		"effectiveDateTime", instant(p.visit(0)),
		"issued", instant(p.visit(0).Add(2*time.Hour)),
		"performer", arr{p.doctorRef()},
		"result", arr{ref("Observation", p.sub("xray", 1))},
		"media", arr{obj{"link", ref("Media", media)}},
		"presentedForm", arr{
			inline("text/plain; charset=utf-8", []byte("Chest X-ray of "+p.name()+
				": no acute finding.\n"),
				"Radiology report"),
		})
}

// onePixel is the smallest PNG: one transparent dot.
const onePixel = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15" +
	"\xc4\x89\x00\x00\x00\rIDATx\xdacd`\xf8_\x0f\x00\x02\x87\x01\x80\xebG\xba\x92\x00\x00\x00\x00IEND\xaeB`\x82"

func serviceRequests(w *writer, p *person, id string) {
	w.put("ServiceRequest", id, usCore+"servicerequest",
		"status", "completed",
		"intent", "order",
		"category", arr{concept(usCoreCategory, "functional-status", "Functional Status")},
		"code", concept(icd10pcs, "BW03ZZZ", "Plain Radiography of Chest"),
		"subject", p.ref(),
		"encounter", p.encounterRef(1),
		"occurrenceDateTime", instant(p.visit(0)),
		"authoredOn", instant(p.visit(0).Add(-time.Hour)),
		"requester", p.doctorRef())

	w.put("ServiceRequest", p.sub("request", 2), usCore+"servicerequest",
		"status", "active",
		"intent", "order",
		"category", arr{concept(usCoreCategory, "sdoh", "SDOH")},
		"code", concept(snomed, "467771000124109", "Assistance with application for food pantry program"),
		"subject", p.ref(),
		"encounter", p.encounterRef(visits),
		"occurrencePeriod", period(p.last(), p.last().AddDate(0, 1, 0)),
		"authoredOn", instant(p.last()),
		"requester", p.doctorRef(),
		"reasonCode", arr{concept(icd10cm, "Z59.41", "Food insecurity")},
		"reasonReference", arr{ref("Condition", p.sub("cond", 2))})
}
