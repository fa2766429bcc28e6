// Package disclosure accounts for the disclosures of a patient's data: who got what,
// when and why, out of the audit record. Repeated ones to the same party for the same
// purpose are one entry, with the first, the last and their number (as 45 CFR
// 164.528(b)(3) has it).
package disclosure

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir/trail"
)

// Disclosure is what one party got for one purpose.
type Disclosure struct {
	Client    string   // client_id of the program that got it
	Addresses []string // IP addresses from which it asked; at most maxAddresses
	Subject   string   // of the person for whom the client asked; empty: none
	User      string   // the resource that describes the person; may be empty
	Purposes  []string // purposes of use, as system#code or a code
	First     time.Time
	Last      time.Time
	Count     int            // how many interactions it was
	What      map[string]int // types of resources, and how many interactions had them
}

const maxAddresses = 5

// Account gathers disclosures.
type Account struct {
	groups map[string]*Disclosure
}

// Add adds a record, unless it discloses nothing.
func (a *Account) Add(rec *trail.Record) {
	if !rec.Discloses() {
		return
	}
	if a.groups == nil {
		a.groups = map[string]*Disclosure{}
	}

	key := strings.Join(append([]string{rec.Client, rec.Subject}, rec.Purposes...), "\x00")
	d := a.groups[key]
	if d == nil {
		d = &Disclosure{
			Client:   rec.Client,
			Subject:  rec.Subject,
			User:     rec.User,
			Purposes: rec.Purposes,
			First:    rec.At,
			Last:     rec.At,
			What:     map[string]int{},
		}
		a.groups[key] = d
	}

	d.Count++
	if rec.At.Before(d.First) {
		d.First = rec.At
	}
	if rec.At.After(d.Last) {
		d.Last = rec.At
	}
	known := rec.Address == "" || slices.Contains(d.Addresses, rec.Address)
	if !known && len(d.Addresses) < maxAddresses {
		d.Addresses = append(d.Addresses, rec.Address)
	}
	for _, typ := range typesOf(rec) {
		d.What[typ]++
	}
}

// typesOf returns the types of resources that a record is about: those of what was
// read, or the one that a query names.
func typesOf(rec *trail.Record) []string {
	var out []string
	for _, v := range rec.Touched {
		if !slices.Contains(out, v.Type) {
			out = append(out, v.Type)
		}
	}
	if len(out) > 0 {
		return out
	}

	if strings.HasPrefix(rec.Interaction, "$") {
		return []string{strings.TrimPrefix(rec.Interaction, "$")}
	}
	_, path, _ := strings.Cut(rec.Query, " ")
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	typ := parts[0]
	if len(parts) > 2 && parts[0] == "Patient" && !strings.HasPrefix(parts[2], "_") {
		typ = parts[2] // a search in the compartment
	}
	if typ == "" || typ[0] < 'A' || typ[0] > 'Z' {
		return []string{"record"}
	}
	return []string{typ}
}

// All returns the disclosures, the latest first.
func (a *Account) All() []*Disclosure {
	out := slices.Collect(maps.Values(a.groups))
	slices.SortFunc(out, func(x, y *Disclosure) int {
		return cmp.Or(
			y.Last.Compare(x.Last),
			cmp.Compare(x.Client, y.Client),
			cmp.Compare(x.Subject, y.Subject),
			slices.Compare(x.Purposes, y.Purposes),
		)
	})
	return out
}

// Types returns the types of What in their order.
func (d *Disclosure) Types() []string {
	return slices.Sorted(maps.Keys(d.What))
}
