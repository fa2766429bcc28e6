package oauth

import "fhirdest.example/udap"

// OutcomeOf reads the table of codes.
func OutcomeOf(c udap.Code) (status int, sentence string) {
	o := outcomes[c]
	return o.status, o.sentence
}
