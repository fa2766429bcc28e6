package carry

import (
	"encoding/binary"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/packed"
)

// Kind is a kind of rows. Those of one kind are copied together, in the order of the
// constants.
type Kind int

// The kinds, each with its type of rows and their order.
const (
	TrustSettings    Kind = iota // *Setting, in any order
	Registrations                // *Registration, in any order
	UsedJTI                      // *Used, by Minute and Number
	Lists                        // *List, by Key
	Decisions                    // *Decision, by Number
	Memberships                  // *Membership, in any order
	ResourceSettings             // *Setting, in any order
	Resources                    // *Version, by Doc: current versions
	Versions                     // *Version, by Doc and Version: earlier ones
	Changes                      // *Change, by Type and Seq
	Terms                        // *Term, by Term and Doc; resources' only
	Chains                       // *Chain, by Name
	Joints                       // *Joint: one
	Blocks                       // *Block, by First
	kinds
)

// Kinds returns all kinds in the order in which they are copied.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for k := range all {
		all[k] = Kind(k)
	}
	return all
}

var kindNames = [kinds]string{
	TrustSettings:    "settings of trust",
	Registrations:    "registrations",
	UsedJTI:          "used jti",
	Lists:            "revocation lists",
	Decisions:        "decisions",
	Memberships:      "memberships",
	ResourceSettings: "settings of resources",
	Resources:        "resources",
	Versions:         "former versions",
	Changes:          "changes",
	Terms:            "index",
	Chains:           "audit chains",
	Joints:           "what joins audit chains",
	Blocks:           "audit records",
}

// String returns the kind's name for people.
func (k Kind) String() string { return kindNames[k] }

// Row is a row of some kind. It is valid until the function that it was passed to
// returns.
type Row interface {
	// Append appends the row in a form that equal rows alone have in common.
	Append(b []byte) []byte
}

// Names of settings of trust.
const (
	HandleKey = "handleKey" // what hides the places of tokens
	Floor     = "floor"     // minute of 4 bytes up to whose end used jti are forgotten
	Restored  = "restored"  // second of 8 bytes of the last restore
	// IDTokenKeys is a PEM file of the private keys of ID tokens, if the destination
	// makes them itself.
	IDTokenKeys = "id-token-keys"
)

// Names of settings of resources that every engine keeps in its own way, each a number
// of 8 bytes.
const (
	LastNumber = "last-number" // that was given to a resource or an audit record
	LastChange = "last-change" // in the log of changes
)

// Setting is a value that a store keeps for itself.
type Setting struct {
	Name  string
	Value []byte
}

// Registration is a client's registration.
type Registration struct {
	oauth.Registration
	Body []byte // as JSON
}

// Used is a used jti.
type Used struct {
	Minute   uint32 // since 1970, up to whose end it is remembered
	Number   uint64 // in the order of use
	Key      [16]byte
	Second   uint32 // Unix time of its use
	Endpoint string
}

// List is a revocation list as it was fetched.
type List struct {
	Key     string
	Fetched time.Time
	DER     []byte
}

// Decision is one of the latest decisions about authenticated parties.
type Decision struct {
	Number uint64 // in the order in which they were stored
	Body   []byte // as JSON
}

// Membership is a registration of the destination's own at an identity provider.
type Membership struct {
	Provider string
	Body     []byte // as JSON
}

// Version is a version of a resource, with its terms if it is the current one.
type Version struct{ fhir.Entry }

// Change is a row of the log of changes: a version of a resource, or the first
// versions of audit records with successive numbers.
type Change struct {
	Type    string
	Seq     uint64
	Doc     uint64
	Version uint64
	Records uint64 // how many records; 0 for a resource
}

// Term is a row of the search index.
type Term struct {
	Term []byte
	Doc  uint64
}

// Chain is the extent of one destination's chain of audit records,
// that has had any.
type Chain struct{ trail.Chain }

// Joint is the ends of the chain that joins the chains of several destinations: see
// trail.Extent. Both are zero where there are none.
type Joint struct{ Joined, Newest trail.Hash }

// Block is audit records with successive numbers and places in one chain, as the log
// of changes has them in one row.
type Block struct {
	packed.Block
	Change uint64 // number of the first in the log of changes
}

func part[T string | []byte](b []byte, p T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// Append implements Row.
func (s *Setting) Append(b []byte) []byte {
	return part(part(b, s.Name), s.Value)
}

// Append implements Row.
func (r *Registration) Append(b []byte) []byte {
	return part(b, r.Body)
}

// Append implements Row. Number is not in it: an engine may count anew.
func (u *Used) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, u.Minute)
	b = binary.BigEndian.AppendUint32(b, u.Second)
	return part(append(b, u.Key[:]...), u.Endpoint)
}

// Append implements Row.
func (l *List) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(l.Fetched.Unix()))
	return part(part(b, l.Key), l.DER)
}

// Append implements Row.
func (d *Decision) Append(b []byte) []byte {
	return part(b, d.Body)
}

// Append implements Row.
func (m *Membership) Append(b []byte) []byte {
	return part(part(b, m.Provider), m.Body)
}

// Append implements Row.
func (v *Version) Append(b []byte) []byte {
	deleted := byte(0)
	if v.Deleted {
		deleted = 1
	}

	b = binary.BigEndian.AppendUint64(append(b, deleted), v.Doc)
	b = binary.BigEndian.AppendUint64(b, v.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(v.Updated.UnixMilli()))
	b = part(part(part(b, v.Type), v.ID), v.Method)
	return part(part(b, []byte(v.Terms)), v.Body)
}

// Append implements Row.
func (c *Change) Append(b []byte) []byte {
	for _, n := range []uint64{c.Seq, c.Doc, c.Version, c.Records} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return part(b, c.Type)
}

// Append implements Row.
func (t *Term) Append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(part(b, t.Term), t.Doc)
}

// Append implements Row.
func (c *Chain) Append(b []byte) []byte {
	b = part(b, c.Name)
	for _, p := range []trail.Place{c.Anchor, c.Head} {
		b = binary.BigEndian.AppendUint64(b, p.Sequence)
		b = binary.BigEndian.AppendUint64(b, p.Doc)
		b = append(b, p.Hash[:]...)
	}
	return b
}

// Append implements Row. An engine for one destination joins nothing, and one for
// several joins what was not: the hashes themselves show whether that is right.
func (*Joint) Append(b []byte) []byte { return b }

// Append implements Row; see Joint.
func (l *Block) Append(b []byte) []byte {
	bare := l.Block
	bare.Joint = nil
	b = binary.BigEndian.AppendUint64(b, l.First)
	b = binary.BigEndian.AppendUint64(b, l.Change)
	return append(b, bare.Encode()...)
}
