package lab

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
