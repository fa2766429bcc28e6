// Package label decides access by security labels (R4 security-labels.html): what the
// labels of a resource are, given or implied by rules; what a grant is cleared for;
// and what of a resource is masked for a reader who is not.
package label

import (
	"slices"
	"strings"

	"fhirdest.example/fhir/search"
)

// Level is how confidential something is, by a code of the HL7 v3 code system
// Confidentiality. Greater is more confidential.
type Level byte

// The levels in their order. Normal is that of what has no label.
const (
	Unrestricted Level = iota + 1
	Low
	Moderate
	Normal
	Restricted
	VeryRestricted
)

// levels are the codes of the levels, the least one first.
const levels = "ULMNRV"

// levelOf returns the level of a code; false for one that the system does not have.
func levelOf(code string) (Level, bool) {
	if len(code) != 1 {
		return 0, false
	}
	i := strings.Index(levels, code)
	return Level(i + 1), i >= 0
}

// Code returns the level's code, "" for no level.
func (l Level) Code() string {
	if l == 0 || int(l) > len(levels) {
		return ""
	}
	return levels[l-1 : l]
}

// Coding returns the level as a label.
func (l Level) Coding() search.Coding {
	return search.Coding{
		System: confidentialities[0],
		Code:   l.Code(),
	}
}

// The names of the code systems, the present one first.
var (
	confidentialities = []string{
		"http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
		"urn:oid:2.16.840.1.113883.5.25",
		"http://hl7.org/fhir/v3/Confidentiality",
	}
	actCodes = []string{
		"http://terminology.hl7.org/CodeSystem/v3-ActCode",
		"urn:oid:2.16.840.1.113883.5.4",
		"http://hl7.org/fhir/v3/ActCode",
	}
	reasons = []string{
		"http://terminology.hl7.org/CodeSystem/v3-ActReason",
		"urn:oid:2.16.840.1.113883.5.8",
		"http://hl7.org/fhir/v3/ActReason",
	}
	exchangePurposes = []string{"urn:oid:2.16.840.1.113883.3.7204.1.5.2.1"} // TEFCA
)

// System returns the present name of a code system of labels; the same for others.
func System(name string) string {
	for _, names := range [][]string{confidentialities, actCodes} {
		if slices.Contains(names, name) {
			return names[0]
		}
	}
	return name
}

// OfPurposes reports whether a system has purposes of use: v3-ActReason, under any of
// its names, or TEFCA's exchange purposes.
func OfPurposes(system string) bool {
	return slices.Contains(reasons, system) || slices.Contains(exchangePurposes, system)
}

const observationValues = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"

// redacted is the label of what is shown in part.
var redacted = search.Coding{
	System: observationValues,
	Code:   "REDACTED",
}

// sensitivities are the codes of v3-ActCode for information that is sensitive
// (InformationSensitivityPolicy).
var sensitivities = strings.Fields(`
	ETH GDIS HIV MST PREGNANT SCA SDV SEX SPI BH COGN DVD EMOTDIS MH PSY PSYTHPN SUD ETHUD OPIOIDUD
	STD TBOO VIO IDS SICKLE DEMO DOB GENDER LIVARG MARST PATLOC RACE REL RLG B EMPL LOCIS SSP
	ADOL CEL DIA DRGIS EMP PDS PHY PRS COMPT ACOCOMPT CDSSCOMPT CTCOMPT HMCOMPT HRCOMPT LRCOMPT
	PACOMPT RESCOMPT RMGTCOMPT
`)

// handling are the codes of v3-ActCode for what a recipient must do or must not do
// (ObligationPolicy, RefrainPolicy). They travel with the resource and decide nothing
// here.
var handling = strings.Fields(`
	ANONY AOD AUDIT AUDTR CPLYCC CPLYCD CPLYCUI CPLYJPP CPLYJSP CPLYOPP CPLYOSP CPLYPOL
	DECLASSIFYLABEL DEID DELAU DOWNGRDLABEL DRIVLABEL ENCRYPT ENCRYPTR ENCRYPTT ENCRYPTU HUAPRV
	LABEL MASK MINEC PERSISTLABEL PRIVMARK PSEUD REDACT UPGRDLABEL
	NOAUTH NOCOLLECT NODSCLCD NODSCLCDS NOINTEGRATE NOLIST NOMOU NOORGPOL NOPAT NOPERSISTP NORDSLCD
	NORDSCLCD NORDSCLCDS NORDSCLW NORELINK NOREUSE NOVIP ORCON
`)

// kind is what a label means for access.
type kind byte

const (
	other       kind = iota // decides nothing
	confidence              // a code of Confidentiality
	sensitivity             // a code that takes clearance
	unknown                 // a code of a system that decides, and that nobody knows
)

// kindOf returns what a label means. A code of Confidentiality without its system is
// taken for one, and so is a sensitivity code.
func (l *Labeler) kindOf(c search.Coding) kind {
	switch {
	case slices.Contains(confidentialities, c.System):
		return confidence
	case c.System == "":
		if _, ok := levelOf(c.Code); ok {
			return confidence
		}
		if l.sensitive[c.Code] {
			return sensitivity
		}
		return other

	case !slices.Contains(actCodes, c.System):
		return other
	case l.sensitive[c.Code]:
		return sensitivity
	case l.known[c.Code]:
		return other
	}

	return unknown
}

// parse reads a label as a policy writes it: a code of Confidentiality, one of
// v3-ActCode, or system|code.
func parse(text string) search.Coding {
	if system, code, ok := strings.Cut(text, "|"); ok {
		return search.Coding{
			System: system,
			Code:   code,
		}
	}
	if _, ok := levelOf(text); ok {
		return search.Coding{
			System: confidentialities[0],
			Code:   text,
		}
	}

	return search.Coding{
		System: actCodes[0],
		Code:   text,
	}
}
