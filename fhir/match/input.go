package match

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fhirdest.example/fhir/tree"
)

// Bounds of one request.
const (
	// MaxCount is the most patients that one request discloses, and the most that
	// its audit record names.
	MaxCount = 20
	// DefaultCount is how many patients are disclosed where the request has no
	// count.
	DefaultCount = 10
	// MinWeight is the least weight of an input that is looked up: that of name
	// and date of birth. A person who is described by less is not searched for.
	MinWeight = 5
)

// Weights that profiles of the guide ask for (invariants idi-L0 and idi-L1).
const (
	weightL0 = 9
	weightL1 = 10
)

const (
	profiles   = "http://hl7.org/fhir/us/identity-matching/StructureDefinition/"
	identity   = "http://hl7.org/fhir/us/identity-matching/ns/HL7Identifier"
	baseOfIDI  = profiles + "IDI-Patient"
	levelZero  = profiles + "IDI-Patient-L0"
	levelOne   = profiles + "IDI-Patient-L1"
	levelTwo   = profiles + "IDI-Patient-L2"
	inPatient  = "Parameters.parameter.resource"
	inOnly     = "Parameters.parameter.where(name='onlyCertainMatches').value"
	inCount    = "Parameters.parameter.where(name='count').value"
	inProfiles = inPatient + ".meta.profile"
)

// Error is a request that cannot be served.
type Error struct {
	Code       string // OperationOutcome issue code
	Detail     string
	Expression string // FHIRPath of what is wrong
	Form       bool   // the request is not formed as R4 defines it; else its content does not suffice
}

func (e *Error) Error() string { return e.Detail }

func malformed(code, expression, format string, args ...any) error {
	return &Error{
		Code:       code,
		Detail:     fmt.Sprintf(format, args...),
		Expression: expression,
		Form:       true,
	}
}

func insufficient(expression, format string, args ...any) error {
	return &Error{
		Code:       "business-rule",
		Detail:     fmt.Sprintf(format, args...),
		Expression: expression,
	}
}

// Request is what Patient/$match is asked for.
type Request struct {
	Patient     *tree.Value // as it was sent; to be validated by the caller
	OnlyCertain bool
	Count       int // patients to disclose, 1 to MaxCount

	Person *Person
	Weight int // of the input, by the guide's table
}

// ReadRequest reads the body of Patient/$match: Parameters with the resource,
// onlyCertainMatches and count (R4 patient-operation-match.html). Its error is an
// *Error.
func ReadRequest(body *tree.Value) (*Request, error) {
	if kind := body.Get("resourceType").Text(); kind != "Parameters" {
		return nil, malformed("invalid", "", "The body of $match is Parameters, not %.40q.", kind)
	}

	r := &Request{Count: DefaultCount}
	params := body.Get("parameter").Each()
	seen := map[string]bool{}

	for i := range params {
		name := params[i].Get("name").Text()
		if seen[name] {
			return nil, malformed("invalid", "Parameters.parameter", "The parameter %.40q is there twice.", name)
		}

		seen[name] = true
		if err := r.parameter(name, &params[i]); err != nil {
			return nil, err
		}
	}

	if r.Patient == nil {
		return nil, malformed("required", inPatient, "The parameter resource must hold a Patient.")
	}
	if kind := r.Patient.Get("resourceType").Text(); kind != "Patient" {
		return nil, malformed("invalid", inPatient, "The parameter resource must hold a Patient, not %.40q.", kind)
	}

	return r, nil
}

func (r *Request) parameter(name string, p *tree.Value) error {
	switch name {
	case "resource":
		r.Patient = p.Get("resource")

	case "onlyCertainMatches":
		// Test kits of the field send the boolean as a string.
		switch p.Get("valueBoolean").Literal() {
		case "true":
			r.OnlyCertain = true
		case "false":
		default:
			return malformed("value", inOnly, "onlyCertainMatches is true or false, as valueBoolean.")
		}

	case "count":
		n, err := strconv.ParseUint(p.Get("valueInteger").Literal(), 10, 31)
		if err != nil || n == 0 {
			return malformed("value", inCount, "count is a whole number above 0, as valueInteger.")
		}
		r.Count = int(min(n, MaxCount))
	}

	return nil
}

// Check holds the input to the profiles of the guide that it asserts in
// meta.profile, and without one to that of level 0. Its error is an *Error.
func (r *Request) Check() error {
	for _, list := range []string{"name", "identifier", "telecom", "address"} {
		if n := len(r.Patient.Get(list).Each()); n > maxEach {
			return insufficient(inPatient+"."+list, "The input has %d of %s: at most %d are compared.", n, list,
				maxEach)
		}
	}

	r.Person = NewPerson(r.Patient)
	r.Weight = r.Person.weight()
	asserted := r.asserted()

	for _, profile := range asserted {
		if err := r.holds(profile); err != nil {
			return err
		}
	}

	if len(asserted) == 0 && r.Weight < weightL0 {
		return insufficient(inProfiles, "The input has a weight of %d. One that asserts no IDI-Patient profile in "+
			"meta.profile needs %d: %s.", r.Weight, weightL0, weights)
	}
	return r.checkCertain()
}

// asserted are the profiles of the guide that the input has in meta.profile,
// without their versions.
func (r *Request) asserted() []string {
	var all []string
	list := r.Patient.At("meta", "profile").Each()
	for i := range list {
		url, _, _ := strings.Cut(list[i].Text(), "|")
		if strings.HasPrefix(url, profiles) {
			all = append(all, url)
		}
	}
	return all
}

// weights is the guide's table in words.
const weights = "10 for a passport, driver's license, state or digital identifier, 4 for one and 5 for more of home " +
	"address, e-mail, telephone, other identifier with its type, photo, 3 for family and given name, 2 for birthDate"

func (r *Request) holds(profile string) error {
	least := 0
	switch profile {
	case baseOfIDI:
		if !r.Person.described() {
			return insufficient(inPatient,
				"idi-1: an identifier, a telecom, a family and given name, an address or a birthDate must be there.")
		}

	case levelZero:
		least = weightL0
	case levelOne, levelTwo:
		least = weightL1
	default:
		return insufficient(inProfiles, "There is no profile %.200q for the input of $match.", profile)
	}

	if r.Weight < least {
		return insufficient(inPatient, "The input has a weight of %d; its profile %s needs %d: %s.",
			r.Weight, strings.TrimPrefix(profile, profiles), least, weights)
	}
	return nil
}

// checkCertain refuses to be certain about a person without a name, unless there
// is an identifier with the date of birth (the guide, Recommended Best Practices).
func (r *Request) checkCertain() error {
	p := r.Person
	if !r.OnlyCertain || p.named() || p.birth != "" && len(p.identifiers) > 0 {
		return nil
	}
	return insufficient(inPatient+".name", "onlyCertainMatches needs a family and a given name, "+
		"or an identifier with the birthDate: no match without them is certain.")
}

// named reports whether there is a name of family and given name.
func (p *Person) named() bool {
	return slices.ContainsFunc(p.names, func(n name) bool {
		return n.family != "" && len(n.given) > 0
	})
}

// described reports whether the input holds invariant idi-1.
func (p *Person) described() bool {
	return len(p.identifiers) > 0 || len(p.phones)+len(p.emails) > 0 || p.named() || p.birth != "" ||
		slices.ContainsFunc(p.addresses, func(a address) bool {
			return a.line != "" && a.city != ""
		})
}

// weight is the combined weight of the input's elements (the guide, Patient
// Weighted Input Information; the expression of idi-L0).
func (p *Person) weight() int {
	total := 0
	official := func(i identifier) bool {
		return i.is("PPN", "DL", "STID") || i.system == identity
	}
	if slices.ContainsFunc(p.identifiers, official) {
		total += 10
	}

	switch p.contacts(official) {
	case 0:
	case 1:
		total += 4
	default:
		total += 5
	}

	if p.named() {
		total += 3
	}
	if p.birth != "" {
		total += 2
	}

	return total
}

// contacts counts the kinds of what says where a person is to be found.
func (p *Person) contacts(official func(identifier) bool) int {
	n := 0
	for _, there := range []bool{
		len(p.emails) > 0,
		len(p.phones) > 0,
		p.photo,
		slices.ContainsFunc(p.addresses, func(a address) bool {
			return a.use == "home" && a.line != "" && (a.postal != "" || a.city != "" && a.state != "")
		}),
		slices.ContainsFunc(p.identifiers, func(i identifier) bool {
			return len(i.codes) > 0 && !official(i)
		}),
	} {
		if there {
			n++
		}
	}

	return n
}
