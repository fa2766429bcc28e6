package conform

// Outcome is what is known about one requirement at the end of a run.
type Outcome struct {
	Row     string  `json:"row"`              // id of the requirement
	Level   string  `json:"level,omitempty"`  // of the guide: SHALL, SHOULD, MAY
	Title   string  `json:"title,omitempty"`  // the requirement in our own short words
	Section string  `json:"section,omitzero"` // of the guide or RFC, in words
	Link    string  `json:"link,omitempty"`   // to that section
	Verdict Verdict `json:"verdict"`

	// Also are the requirements that say the same, or of which this is a part.
	Also []string `json:"also,omitempty"`

	Text     string `json:"text,omitempty"` // what was done, in words; for a row not exercised, the reason
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	Remedy   string `json:"remedy,omitempty"`
	Check    string `json:"check,omitempty"` // name of the check that found it

	Exchanges []uint64 `json:"exchanges,omitempty"` // numbers within the session, the first ones alone
}
