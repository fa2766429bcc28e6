package oauth

import (
	"fhirdest.example/udap/trace"
)

// OutcomeOf reads the table of codes.
func OutcomeOf(c trace.Code) (status int, sentence string) {
	o := outcomes[c]
	return o.status, o.sentence
}
