package answer

import (
	"net/http"
	"slices"
	"time"
)

// Stage is the part of an exchange in which a fault lies.
type Stage string

// The stages, in the order in which a client meets them.
const (
	TLS           Stage = "tls"
	Metadata      Stage = "metadata"
	Registration  Stage = "registration"
	Authorization Stage = "authorization"
	Token         Stage = "token"
	IDToken       Stage = "id_token"
	FHIR          Stage = "fhir"
	Hop           Stage = "hop" // as an intermediary would fail
)

// Lasts is how long a chosen fault stays.
type Lasts string

// How long a chosen fault stays.
const (
	OneAnswer    Lasts = "one answer"    // the next answer of its kind alone has it
	UntilCleared Lasts = "until cleared" // every answer of its kind has it
)

// Need is what a fault needs beyond a destination and one community's issuer.
type Need string

// The needs.
const (
	NeedsNothing   Need = ""
	NeedsCommunity Need = "a second community"
	NeedsElsewhere Need = "a listener at another origin"
	NeedsListener  Need = "a listener with faulty TLS"
)

// Fault is one deliberate fault in answers.
type Fault struct {
	Name    string // of small letters, digits and hyphens, for URLs
	Stage   Stage
	Title   string // what is wrong, in one line
	Correct string // what a correct client does
	Rule    string // ids of requirements, and sections of standards
	Lasts   Lasts
	Needs   Need

	Within  time.Duration // how long after the fault requests are read
	Ignored string        // what a client sends in that time that ignored it
	Silence Verdict       // the verdict when nothing decides in that time

	changes map[point]change
	instead map[point]func(*workshop) *Message
	reads   func(*history) decide
}

// All returns every fault, by stage.
func All() []*Fault {
	return slices.Concat(
		tlsFaults,
		metadataFaults(),
		registrationFaults(),
		authorizationFaults(),
		tokenFaults(),
		idTokenFaults(),
		fhirFaults(),
		hopFaults(),
	)
}

// Find returns the fault of a name; nil if there is none.
func Find(name string) *Fault {
	i := slices.IndexFunc(All(), func(f *Fault) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return All()[i]
}

// Available reports whether the tools have what the fault needs.
func (f *Fault) Available(t Tools) bool {
	switch f.Needs {
	case NeedsCommunity:
		return len(t.Communities) > 1
	case NeedsElsewhere:
		return t.Elsewhere != ""
	case NeedsListener:
		return t.Listener
	}
	return len(t.Communities) > 0
}

// Apply returns next with the fault in its answers. A fault of TLS changes none: a
// listener of its own has it.
func (f *Fault) Apply(next http.Handler, t Tools) http.Handler {
	return &decorator{
		fault: f,
		next:  next,
		shop:  newWorkshop(t),
	}
}
