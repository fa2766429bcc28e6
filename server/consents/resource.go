package consents

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/oauth"
)

// The code systems of a Consent.
const (
	consentScope   = "http://terminology.hl7.org/CodeSystem/consentscope"
	consentAction  = "http://terminology.hl7.org/CodeSystem/consentaction"
	participation  = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
	actReason      = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	loinc          = "http://loinc.org"
	consentDoc     = "59284-0" // Consent Document
	resourceTypes  = "http://hl7.org/fhir/resource-types"
	resourcePrefix = "grant-"
)

type coding struct {
	System string `json:"system"`
	Code   string `json:"code"`
}

type concept struct {
	Coding []coding `json:"coding"`
}

func conceptOf(system, code string) concept {
	return concept{Coding: []coding{{
		System: system,
		Code:   code,
	}}}
}

type identifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

type reference struct {
	Reference  string      `json:"reference,omitzero"`
	Type       string      `json:"type,omitzero"`
	Identifier *identifier `json:"identifier,omitzero"`
	Display    string      `json:"display,omitzero"`
}

type period struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

type actor struct {
	Role      concept   `json:"role"`
	Reference reference `json:"reference"`
}

type provision struct {
	Type      string      `json:"type"`
	Period    *period     `json:"period,omitzero"`
	Actor     []actor     `json:"actor,omitempty"`
	Action    []concept   `json:"action,omitempty"`
	Purpose   []coding    `json:"purpose,omitempty"`
	Class     []coding    `json:"class,omitempty"`
	Provision []provision `json:"provision,omitempty"`
}

type policy struct {
	URI string `json:"uri"`
}

type verification struct {
	Verified bool      `json:"verified"`
	With     reference `json:"verifiedWith"`
	Date     string    `json:"verificationDate"`
}

type attachment struct {
	ContentType string `json:"contentType"`
	Data        string `json:"data"`
	Title       string `json:"title"`
	Creation    string `json:"creation"`
}

// resource is the Consent of a grant.
type resource struct {
	ResourceType string         `json:"resourceType"`
	ID           string         `json:"id"`
	Identifier   []identifier   `json:"identifier"`
	Status       string         `json:"status"`
	Scope        concept        `json:"scope"`
	Category     []concept      `json:"category"`
	Patient      reference      `json:"patient"`
	DateTime     string         `json:"dateTime"`
	Performer    []reference    `json:"performer"`
	Source       attachment     `json:"sourceAttachment"`
	Policy       []policy       `json:"policy"`
	Verification []verification `json:"verification"`
	Provision    provision      `json:"provision"`
}

// patientOf returns the id of the patient of whom a grant is the consent: given by the
// patient, or for the patient by a related person. Empty: it is nobody's consent. What
// a practitioner lets a client do is the practitioner's matter (R4 consent.html), and
// who a person is no data of a record.
func patientOf(g *oauth.Grant) string {
	typ, id, _ := strings.Cut(g.Person.FHIRUser, "/")
	set, _ := scope.ParseSet(g.Scope)
	switch {
	case len(set) == 0:
		return ""
	case typ == "RelatedPerson":
		return g.Patient
	case typ != "Patient":
		return ""
	case g.Patient != "":
		return g.Patient
	}
	return id
}

// system is the system of the identifiers of grants.
func (k *Keeper) system() string {
	return k.Issuer + "/grants"
}

// consentOf writes the Consent of a grant.
func (k *Keeper) consentOf(g *oauth.Grant, patient string) ([]byte, error) {
	given := stamp(g.Created)
	who := reference{Reference: g.Person.FHIRUser}
	return json.Marshal(resource{
		ResourceType: "Consent",
		ID:           resourcePrefix + string(g.ID),
		Identifier: []identifier{{
			System: k.system(),
			Value:  string(g.ID),
		}},
		Status:    "active",
		Scope:     conceptOf(consentScope, "patient-privacy"),
		Category:  []concept{conceptOf(loinc, consentDoc)},
		Patient:   reference{Reference: "Patient/" + patient},
		DateTime:  given,
		Performer: []reference{who},
		Source: attachment{
			ContentType: "text/plain; charset=utf-8",
			Data:        base64.StdEncoding.EncodeToString([]byte(strings.Join(g.Scope, " "))),
			Title:       "Scopes that were granted on the consent page of " + k.Issuer,
			Creation:    given,
		},
		Policy: []policy{{URI: k.Issuer}},
		Verification: []verification{{
			Verified: true,
			With:     who,
			Date:     given,
		}},
		Provision: k.provisionOf(g),
	})
}

func stamp(t time.Time) string {
	return t.UTC().Format(time.RFC3339)
}

// provisionOf permits the client what the scopes say, for as long as the grant can
// last: everything, with an exception for each action that is not permitted of all
// types. Scopes with a query permit nothing here, which a Consent cannot say.
func (k *Keeper) provisionOf(g *oauth.Grant) provision {
	p := provision{
		Type: "permit",
		Period: &period{
			Start: stamp(g.Created),
			End:   stamp(k.end(g)),
		},
		Actor: []actor{{
			Role: conceptOf(participation, "IRCP"),
			Reference: reference{
				Type: "Device",
				Identifier: &identifier{
					System: k.Issuer,
					Value:  string(g.ClientID),
				},
				Display: string(g.Client),
			},
		}},
		Purpose: []coding{{
			System: actReason,
			Code:   "PATRQT",
		}},
	}

	for _, action := range []struct {
		code  string
		needs scope.Permission
	}{
		{"access", scope.Read | scope.Search},
		{"collect", scope.Create},
		{"correct", scope.Update | scope.Delete},
	} {
		types := typesOf(g.Scope, action.needs)
		if slices.Contains(types, "*") {
			continue
		}

		except := provision{
			Type:   "deny",
			Action: []concept{conceptOf(consentAction, action.code)},
		}
		if len(types) > 0 {
			permitted := provision{Type: "permit"}
			for _, typ := range types {
				permitted.Class = append(permitted.Class, coding{
					System: resourceTypes,
					Code:   typ,
				})
			}
			except.Provision = []provision{permitted}
		}
		p.Provision = append(p.Provision, except)
	}
	return p
}

// typesOf returns the types on which scopes allow one of some interactions, "*" for
// all, in their order.
func typesOf(scopes []string, needs scope.Permission) []string {
	var types []string
	set, _ := scope.ParseSet(scopes)
	for _, sc := range set {
		if sc.Allowed&needs != 0 && len(sc.Query) == 0 && !slices.Contains(types, sc.Type) {
			types = append(types, sc.Type)
		}
	}
	slices.Sort(types)
	return types
}

// end is when a grant has ended in any case.
func (k *Keeper) end(g *oauth.Grant) time.Time {
	end := g.Expires.Add(k.TokenLifetime)
	if g.RefreshEnds.After(end) {
		return g.RefreshEnds
	}
	return end
}
