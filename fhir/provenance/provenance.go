// Package provenance writes the Provenance of changes of resources: compact bytes
// and their search terms, without a model, as every change has one.
package provenance

import (
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/splice"
)

// Activity is what was done, a code of v3-DataOperation.
type Activity string

// The activities of changes.
const (
	Create  Activity = "CREATE"
	Update  Activity = "UPDATE"
	Delete  Activity = "DELETE"
	Operate Activity = "OPERATE" // several kinds at once
)

// Target is a version of a resource.
type Target struct {
	Type, ID string
	Version  uint64
}

// Party is whose request made a change.
type Party struct {
	Base   string // of the server, which is the system of its clients' and users' identifiers
	Client string // client_id

	Organization     string // URI of the organization that the client asserts; "" for none
	OrganizationName string

	Subject     string // the person who granted the token, by the server's identifier; "" for none
	User        string // reference to the resource that describes that person; may be ""
	SubjectID   string // the person whom the client asserts; "" for none
	SubjectName string
}

// Record is the content of one Provenance.
type Record struct {
	ID       string
	At       time.Time
	Activity Activity
	Targets  []Target
	Patients []string // ids of the patients in whose records the targets are
	Labels   []Label  // security labels of the targets
	Party    *Party
	Marks    []string // what the index has of Labels
}

// Label is a security label. A Provenance has those of its targets: whoever may not
// see one of these does not learn from it that there is such a resource.
type Label struct{ System, Code string }

// appendLabels writes labels as items of meta.security.
func appendLabels(b []byte, labels []Label) []byte {
	for i, l := range labels {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		if l.System != "" {
			b = append(appendString(append(b, `"system":`...), l.System), ',')
		}
		b = append(appendString(append(b, `"code":`...), l.Code), '}')
	}
	return b
}

// PatientExtension is R5's Provenance.patient in R4: whose record a Provenance is in
// (http://hl7.org/fhir/5.0/StructureDefinition). R4 has no element for it.
const PatientExtension = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Provenance.patient"

// Profile is that of US Core.
const Profile = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-provenance"

const (
	operationSystem   = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
	participantSystem = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
	usCoreSystem      = "http://hl7.org/fhir/us/core/CodeSystem/us-core-provenance-participant-type"

	// URISystem is the system of identifiers that are URIs.
	URISystem = "urn:ietf:rfc:3986"

	author      = `{"type":{"coding":[{"system":"` + participantSystem + `","code":"author"}]},"who":{`
	transmitter = `{"type":{"coding":[{"system":"` + usCoreSystem + `","code":"transmitter"}]},"who":{`
)

// Body returns the resource.
func (r *Record) Body() []byte {
	b := r.appendHead(make([]byte, 0, 1024+64*len(r.Targets)))
	b = append(b, `,"activity":{"coding":[{"system":"`+operationSystem+`","code":"`+string(r.Activity)+
		`"}]},"agent":[`...)
	return append(r.Party.appendAgents(b), `]}`...)
}

// Signed returns a Provenance of a signature: of whom it is, a URI, and its element.
func (r *Record) Signed(signer string, element []byte) []byte {
	return appendSigned(r.appendHead(make([]byte, 0, 1024+len(element))), signer, element)
}

// Signed returns a Provenance of a signature that is to be stored: of what it is, a
// reference to a version, of whom, a URI, and its element.
func Signed(target, signer string, element []byte, now time.Time) []byte {
	b := appendString([]byte(`{"resourceType":"Provenance","target":[{"reference":`), target)
	b = append(b, `}],"recorded":"`+now.UTC().Format(splice.InstantFormat)+`"`...)
	return appendSigned(b, signer, element)
}

func appendSigned(b []byte, signer string, element []byte) []byte {
	b = append(b, `,"agent":[{"type":{"coding":[{"system":"`+participantSystem+
		`","code":"attester"}]},"who":{"identifier":`...)
	b = appendIdentifier(b, URISystem, signer)
	b = append(append(b, `}}],"signature":[`...), element...)
	return append(b, `]}`...)
}

// appendHead writes what every Provenance begins with, recorded included.
func (r *Record) appendHead(b []byte) []byte {
	stamp := r.At.UTC().Format(splice.InstantFormat)
	b = append(b, `{"resourceType":"Provenance","id":"`+r.ID+`","meta":{"versionId":"1","lastUpdated":"`+stamp+
		`","profile":["`+Profile+`"]`...)
	if len(r.Labels) > 0 {
		b = append(appendLabels(append(b, `,"security":[`...), r.Labels), ']')
	}
	b = append(b, '}')

	patients := 0
	for _, id := range r.Patients {
		if r.targets("Patient", id) {
			continue
		}
		b = append(append(b, opening(patients, `,"extension":[`)...), patientExtension(id)...)
		patients++
	}
	if patients > 0 {
		b = append(b, ']')
	}

	for i, t := range r.Targets {
		b = append(append(b, opening(i, `,"target":[`)...), `{"reference":"`...)
		b = append(append(append(append(b, t.Type...), '/'), t.ID...), `/_history/`...)
		b = append(strconv.AppendUint(b, t.Version, 10), `"}`...)
	}
	return append(b, `],"recorded":"`+stamp+`"`...)
}

// targets reports whether one of the targets is a version of a resource.
func (r *Record) targets(typ, id string) bool {
	return slices.ContainsFunc(r.Targets, func(t Target) bool {
		return t.Type == typ && t.ID == id
	})
}

// opening returns what precedes the item of an array.
func opening(i int, first string) string {
	if i == 0 {
		return first
	}
	return ","
}

// appendAgents writes the client, which transmitted the data for its organization
// (us-core-provenance: agent:ProvenanceTransmitter), and whoever entered them: the
// person, or else the organization (agent:ProvenanceAuthor).
func (p *Party) appendAgents(b []byte) []byte {
	b = append(b, transmitter+`"type":"Device","identifier":`...)
	b = appendIdentifier(b, p.Base, p.Client)
	b = append(p.appendBehalf(append(b, '}')), '}')

	switch {
	case p.Subject != "":
		b = append(b, `,`+author...)
		if p.User != "" {
			b = append(appendString(append(b, `"reference":`...), p.User), ',')
		}
		b = appendIdentifier(append(b, `"identifier":`...), p.Base, p.Subject)
		return append(p.appendBehalf(append(b, '}')), '}')

	case p.SubjectID != "" || p.SubjectName != "":
		b = append(b, `,`+author...)
		return append(p.appendBehalf(append(appendNamed(b, "", p.SubjectID, p.SubjectName), '}')), '}')

	case p.Organization != "":
		b = append(b, `,`+author...)
		b = append(appendNamed(b, URISystem, p.Organization, p.OrganizationName), '}')
		return append(p.appendBehalf(b), '}')
	}

	return b
}

// appendBehalf writes the organization for which an agent acted.
func (p *Party) appendBehalf(b []byte) []byte {
	if p.Organization == "" {
		return b
	}
	b = append(b, `,"onBehalfOf":{`...)
	return append(appendNamed(b, URISystem, p.Organization, p.OrganizationName), '}')
}

// appendNamed writes the members of a reference by an identifier, a name, or both.
func appendNamed(b []byte, system, value, name string) []byte {
	if value != "" {
		b = appendIdentifier(append(b, `"identifier":`...), system, value)
	}
	if name == "" {
		return b
	}
	if value != "" {
		b = append(b, ',')
	}
	return appendString(append(b, `"display":`...), name)
}

func appendIdentifier(b []byte, system, value string) []byte {
	b = append(b, '{')
	if system != "" {
		b = append(appendString(append(b, `"system":`...), system), ',')
	}
	return append(appendString(append(b, `"value":`...), value), '}')
}

// appendString writes a JSON string.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // what is not UTF-8 is replaced
	return b
}
