package lab

import "net/http"

// faulty returns the handler of a session's site with the faults that are chosen.
func (l *live) faulty(next http.Handler) http.Handler { return next }

// checkFaults returns a *RequestError for names that are no deliberate faults.
func checkFaults(names []string) error {
	if len(names) == 0 {
		return nil
	}
	return &RequestError{
		Member: "faults",
		Text:   "there is no such fault",
	}
}
