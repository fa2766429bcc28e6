// Package scope reads SMART scopes of both editions (v1 `system/Patient.read`,
// v2 `system/Patient.rs?category=...`) for the server that grants them and the
// service that enforces them. It imports the standard library only.
package scope

// Permission is a set of SMART v2 interactions.
type Permission uint8

// The interactions of SMART App Launch 2.x, in the order in which a scope must
// write them.
const (
	Create Permission = 1 << iota
	Read
	Update
	Delete
	Search
	// Match is the operation Patient/$match, which SMART has no letter for. No
	// wildcard includes it.
	Match
)

// Param is one name=value of a granular scope, decoded.
type Param struct{ Name, Value string }

// Scope is one well-formed resource scope.
type Scope struct {
	Raw     string     // as it was written
	Context string     // "system", "user" or "patient"
	Type    string     // resource type, or "*"
	Allowed Permission // v1 read is r and s, write is c, u and d; Match is alone
	V1      bool       // written in the first edition's form
	Query   []Param    // granular restriction: all must hold; nil for none
}

// Set is the granted resource scopes of one token; any of them may allow.
type Set []Scope
