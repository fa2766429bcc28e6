package jose

import "fhirdest.example/udap/trace"

// Fault is a rule that did not hold.
type Fault struct {
	Expected string
	Found    string
	Remedy   string
	Err      error // the cause, for the log; may be nil
}

// Error makes a Fault usable as an error.
func (f *Fault) Error() string {
	return "expected " + f.Expected + "; found " + f.Found
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Finding returns the fault as a check records it.
func (f *Fault) Finding() trace.Finding {
	return trace.Finding{
		Expected: f.Expected,
		Found:    f.Found,
		Remedy:   f.Remedy,
		Err:      f.Err,
	}
}
