package oauth

import (
	"fhirdest.example/udap/trace"
)

// OutcomeOf reads the table of codes.
func OutcomeOf(c trace.Code) (status int, sentence string) {
	o := outcomes[c]
	return o.status, o.sentence
}

// ReadRefresh parses a refresh token and writes it again.
func ReadRefresh(text string) (again string, ok bool) {
	t, ok := parseRefresh(text)
	return t.String(), ok
}

// NewRefresh makes a refresh token of a grant.
func NewRefresh(id GrantID) string { return newRefreshToken(id).String() }
