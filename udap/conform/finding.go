package conform

// Verdict is what is known about one requirement.
type Verdict string

// The verdicts.
const (
	Shown        Verdict = "shown"
	Violated     Verdict = "violated"
	Warned       Verdict = "warned" // a SHOULD that was not kept, or what a stricter destination would refuse
	NotExercised Verdict = "not exercised"
)

// Finding is what one exchange shows about one requirement, or a hint for its client.
type Finding struct {
	Row      string  `json:"row,omitempty"` // id of a requirement; empty: a hint alone
	Verdict  Verdict `json:"verdict"`
	Text     string  `json:"text"` // names what was done, in words
	Expected string  `json:"expected,omitempty"`
	Found    string  `json:"found,omitempty"`
	Remedy   string  `json:"remedy,omitempty"`
	Check    string  `json:"check,omitempty"`   // name of the check in a trace that found it
	Exchange uint64  `json:"exchange,omitzero"` // its number within the session
}
