package consent

import (
	"slices"
	"strings"

	"fhirdest.example/fhir/label"
)

// broader has, for a purpose of use, the next broader one (v3-ActReason,
// PurposeOfUse).
var broader = map[string]string{
	"CLINTRL": "TREAT",
	"COC":     "TREAT",
	"ETREAT":  "TREAT",
	"POPHLTH": "TREAT",
	"BTG":     "ETREAT",
	"ERTREAT": "ETREAT",

	"CAREMGT":   "HOPERAT",
	"DONAT":     "HOPERAT",
	"FRAUD":     "HOPERAT",
	"GOV":       "HOPERAT",
	"HACCRED":   "HOPERAT",
	"HCOMPL":    "HOPERAT",
	"HDECD":     "HOPERAT",
	"HDIRECT":   "HOPERAT",
	"HDM":       "HOPERAT",
	"HLEGAL":    "HOPERAT",
	"HOUTCOMS":  "HOPERAT",
	"HPRGRP":    "HOPERAT",
	"HQUALIMP":  "HOPERAT",
	"HSYSADMIN": "HOPERAT",
	"LABELING":  "HOPERAT",
	"MEMADMIN":  "HOPERAT",
	"METAMGT":   "HOPERAT",
	"MILCDM":    "HOPERAT",
	"PATADMIN":  "HOPERAT",
	"PATSFTY":   "HOPERAT",
	"PERFMSR":   "HOPERAT",
	"RECORDMGT": "HOPERAT",
	"SYSDEV":    "HOPERAT",
	"HTEST":     "SYSDEV",
	"TRAIN":     "HOPERAT",

	"CLMATTCH": "HPAYMT",
	"COVAUTH":  "HPAYMT",
	"COVERAGE": "HPAYMT",
	"ELIGDTRM": "COVERAGE",
	"ELIGVER":  "COVERAGE",
	"ENROLLM":  "COVERAGE",
	"MILDCRG":  "COVERAGE",
	"REMITADV": "HPAYMT",

	"BIORCH":      "HRESCH",
	"CLINTRCH":    "HRESCH",
	"CLINTRCHNPC": "CLINTRCH",
	"CLINTRCHPC":  "CLINTRCH",
	"PRECLINTRCH": "CLINTRCH",
	"DSRCH":       "HRESCH",
	"POARCH":      "HRESCH",
	"TRANSRCH":    "HRESCH",

	"FAMRQT":  "PATRQT",
	"PWATRNY": "PATRQT",
	"SUPNWK":  "PATRQT",

	"DISASTER": "PUBHLTH",
	"THREAT":   "PUBHLTH",
}

// broadest are the purposes of use below which all others are.
var broadest = []string{"HMARKT", "HOPERAT", "HPAYMT", "HRESCH", "PATRQT", "PUBHLTH", "TREAT"}

// exchangePurposes are TEFCA's codes that are in use, by what they are in
// v3-ActReason.
var exchangePurposes = map[string]string{
	"T-TREAT":   "TREAT",
	"T-TRTMNT":  "TREAT",
	"T-PYMNT":   "HPAYMT",
	"T-HCO":     "HOPERAT",
	"T-HCO-CC":  "CAREMGT",
	"T-PH":      "PUBHLTH",
	"T-PH-ECR":  "PUBHLTH",
	"T-PH-ELR":  "PUBHLTH",
	"T-GOVDTRM": "ELIGDTRM",
	"T-IAS":     "PATRQT",
}

// Purpose returns the code of a purpose of use as clients assert it: a URI with
// the code as its fragment (UDAP Security 2.0, 5.2.1.1), system|code, or the code.
// A code of TEFCA's exchange purposes gives the one of v3-ActReason. A code of
// another system is none of these: it is returned with its system.
func Purpose(asserted string) string {
	code := asserted
	if at := strings.LastIndexAny(asserted, "#|"); at >= 0 {
		if !label.OfPurposes(asserted[:at]) {
			return asserted
		}
		code = asserted[at+1:]
	}
	if known, ok := exchangePurposes[code]; ok {
		return known
	}
	return code
}

// Is reports whether a purpose of use is another or a narrower one: ETREAT is TREAT.
func Is(purpose, of string) bool {
	for purpose != of {
		next, ok := broader[purpose]
		if !ok {
			return false
		}
		purpose = next
	}
	return true
}

// KnownPurpose reports whether a code is one of v3-ActReason's purposes of use.
func KnownPurpose(code string) bool {
	return broader[code] != "" || slices.Contains(broadest, code)
}
