package audit

import (
	"strings"

	"fhirdest.example/udap/trace"
)

// proofs are the checks of package udap by which a party proves who it is: it
// holds the key, and the key's certificate leads to a trust community.
var proofs = [...]string{"jws.signature", "chain.path"}

// Authenticated reports whether the party of a trace had proved who it is before
// the decision fell. A person has, where the trace names them. For a client both
// proofs passed, and nothing that the proof rests on (form, certificates,
// revocation) was refused.
func Authenticated(t *trace.Trace) bool {
	if t.Person != "" {
		return true
	}

	var passed [len(proofs)]bool
	for i := range t.Steps {
		s := &t.Steps[i]
		if s.Verdict == trace.Refused && isProof(s.Check) {
			return false
		}

		for i, name := range proofs {
			if s.Check == name && s.Verdict == trace.Passed {
				passed[i] = true
			}
		}
	}

	return passed == [len(proofs)]bool{true, true}
}

func isProof(check string) bool {
	for _, prefix := range [...]string{"jws.", "x5c.", "chain."} {
		if strings.HasPrefix(check, prefix) {
			return true
		}
	}
	return false
}
