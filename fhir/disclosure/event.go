package disclosure

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Profile is that of the AuditEvents made here: IHE Basic Audit Log Patterns, Privacy
// Disclosure at Source.
const Profile = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PrivacyDisclosure.Source"

// Code systems.
const (
	dicomSystem         = "http://dicom.nema.org/resources/ontology/DCM"
	lifecycleSystem     = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
	participationSystem = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
	objectSystem        = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	roleSystem          = "http://terminology.hl7.org/CodeSystem/object-role"
)

const instant = "2006-01-02T15:04:05.000Z"

type coding struct {
	System string `json:"system,omitzero"`
	Code   string `json:"code"`
}

type concept struct {
	Coding []coding `json:"coding"`
}

type identifier struct {
	System string `json:"system,omitzero"`
	Value  string `json:"value"`
}

type reference struct {
	Reference  string      `json:"reference,omitzero"`
	Identifier *identifier `json:"identifier,omitempty"`
	Display    string      `json:"display,omitzero"`
}

type network struct {
	Address string `json:"address"`
	Type    string `json:"type"` // 2: IP address, 5: URI
}

type agent struct {
	Type      concept   `json:"type"`
	Who       reference `json:"who"`
	Requestor bool      `json:"requestor"`
	Network   *network  `json:"network,omitempty"`
}

type detail struct {
	Type  string `json:"type"`
	Value string `json:"valueString"`
}

type entity struct {
	What   *reference `json:"what,omitempty"`
	Type   coding     `json:"type"`
	Role   coding     `json:"role"`
	Name   string     `json:"name,omitzero"`
	Detail []detail   `json:"detail,omitempty"`
}

type meta struct {
	Profile []string `json:"profile"`
}

type period struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

type source struct {
	Observer reference `json:"observer"`
}

type auditEvent struct {
	ResourceType string    `json:"resourceType"`
	Meta         meta      `json:"meta"`
	Type         coding    `json:"type"`
	Subtype      []coding  `json:"subtype"`
	Action       string    `json:"action"`
	Period       period    `json:"period"`
	Recorded     string    `json:"recorded"`
	Outcome      string    `json:"outcome"`
	Purpose      []concept `json:"purposeOfEvent,omitempty"`
	Agent        []agent   `json:"agent"`
	Source       source    `json:"source"`
	Entity       []entity  `json:"entity"`
}

// Event returns the disclosure of a patient's data as an AuditEvent. base is the
// server's base URL.
func (d *Disclosure) Event(base, patient string) ([]byte, error) {
	here := reference{Display: base}
	e := auditEvent{
		ResourceType: "AuditEvent",
		Meta:         meta{Profile: []string{Profile}},
		Type:         coding{dicomSystem, "110106"},
		Subtype:      []coding{{lifecycleSystem, "disclose"}},
		Action:       "R",
		Period: period{
			Start: stamp(d.First),
			End:   stamp(d.Last),
		},
		Recorded: stamp(d.Last),
		Outcome:  "0",
		Agent: []agent{
			{
				Type:    concept{[]coding{{dicomSystem, "110153"}}},
				Who:     here,
				Network: &network{base, "5"},
			},
			d.recipient(),
		},
		Source: source{here},
		Entity: []entity{{
			What: &reference{Reference: "Patient/" + patient},
			Type: coding{objectSystem, "1"},
			Role: coding{roleSystem, "1"},
		}},
	}

	for _, p := range d.Purposes {
		e.Purpose = append(e.Purpose, concept{[]coding{purpose(p)}})
	}
	if d.Subject != "" {
		e.Agent = append(e.Agent, d.person(base))
	}
	for _, typ := range d.Types() {
		e.Entity = append(e.Entity, entity{
			Type: coding{objectSystem, "2"},
			Role: coding{roleSystem, "4"},
			Name: typ,
			Detail: []detail{{
				Type:  "disclosures",
				Value: strconv.Itoa(d.What[typ]),
			}},
		})
	}

	return json.Marshal(e)
}

func stamp(t time.Time) string {
	return t.UTC().Format(instant)
}

// purpose reads a purpose of use; the form of UDAP is system#code.
func purpose(text string) coding {
	if system, code, ok := strings.Cut(text, "#"); ok {
		return coding{system, code}
	}
	return coding{Code: text}
}

func (d *Disclosure) recipient() agent {
	a := agent{
		Type:      concept{[]coding{{dicomSystem, "110152"}}},
		Who:       reference{Identifier: &identifier{Value: d.Client}},
		Requestor: d.Subject == "",
	}
	if len(d.Addresses) > 0 {
		a.Network = &network{d.Addresses[0], "2"}
	}
	return a
}

// person is the one for whom the client asked, as in all records (see trail).
func (d *Disclosure) person(base string) agent {
	return agent{
		Type: concept{[]coding{{participationSystem, "IRCP"}}},
		Who: reference{
			Reference:  d.User,
			Identifier: &identifier{base, d.Subject},
		},
		Requestor: true,
	}
}
