package trail

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Code systems, and what the profiles of IHE's Basic Audit Log Patterns begin with.
const (
	typeSystem          = "http://terminology.hl7.org/CodeSystem/audit-event-type"
	interactionSystem   = "http://hl7.org/fhir/restful-interaction"
	objectSystem        = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	roleSystem          = "http://terminology.hl7.org/CodeSystem/object-role"
	participationSystem = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
	provenanceSystem    = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
	lifecycleSystem     = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
	dicomSystem         = "http://dicom.nema.org/resources/ontology/DCM"
	balp                = "https://profiles.ihe.net/ITI/BALP/"
	requestSystem       = balp + "CodeSystem/BasicAuditEntityType"
	userAgentSystem     = balp + "CodeSystem/UserAgentTypes"
	basicAudit          = balp + "StructureDefinition/IHE.BasicAudit."

	tokenPolicy = "urn:ietf:params:oauth:jti:"
	grantPolicy = "urn:uuid:"

	// authentication is the code of DICOM's event type User Authentication, in which
	// the server is that of authorization (BALP, IHE.IUA.71).
	authentication = "110114"

	instant = "2006-01-02T15:04:05.000Z"
)

var (
	rest         = Coding{typeSystem, "rest", "RESTful Operation"}
	disclose     = Coding{lifecycleSystem, "disclose", "Disclose Record Lifecycle Event"}
	application  = Coding{dicomSystem, "110150", "Application"}
	destination  = Coding{dicomSystem, "110152", "Destination Role ID"}
	source       = Coding{dicomSystem, "110153", "Source Role ID"}
	custodian    = Coding{provenanceSystem, "custodian", "Custodian"}
	recipient    = Coding{participationSystem, "IRCP", "information recipient"}
	author       = Coding{participationSystem, "AUT", "author (originator)"}
	oauthService = Coding{userAgentSystem, "AuthzOauthService", ""}
	oauthAgent   = Coding{userAgentSystem, "UserOauthAgent", ""}
	person       = Coding{objectSystem, "1", "Person"}
	systemObject = Coding{objectSystem, "2", "System Object"}
	otherObject  = Coding{objectSystem, "4", "Other"}
	requestName  = Coding{requestSystem, "XrequestId", ""}
	patientRole  = Coding{roleSystem, "1", "Patient"}
	dataRole     = Coding{roleSystem, "4", "Domain Resource"}
	jobRole      = Coding{roleSystem, "20", "Job"}
	queryRole    = Coding{roleSystem, "24", "Query"}
)

// agent is one AuditEvent.agent, for the resource and for its search terms.
type agent struct {
	kinds          []Coding
	reference      string
	system, value  string // identifier
	display        string
	name           string
	requestor      bool
	policy         []string
	purposes       []string
	address, netOf string // network, and its type: 2 IP address, 5 URI
}

// agents are client and server, with the roles that the profiles give them (source
// and destination of what moves), and the person on whose behalf the client asked.
func (rec *Record) agents() []agent {
	out := make([]agent, 0, 3)
	if rec.Client != "" || rec.Address != "" {
		out = append(out, rec.client())
	}

	kind := destination
	switch rec.Action() {
	case "R":
		kind = source
	case "D":
		kind = custodian
	}
	if rec.Event != nil && rec.Event.Type.Code == authentication {
		kind = oauthService
	}
	out = append(out, agent{
		kinds:   []Coding{kind},
		display: rec.Base,
		address: rec.Base,
		netOf:   "5",
	})

	if rec.Subject != "" {
		out = append(out, rec.person())
	}
	return out
}

// client is the program that asked.
func (rec *Record) client() agent {
	a := agent{
		value:   rec.Client,
		address: rec.Address,
		netOf:   "2",
	}
	if a.value == "" {
		a.display = "a client that is not known"
	}

	switch {
	case rec.Action() == "D" || rec.Event != nil:
		a.kinds = []Coding{application}
	case rec.Action() == "R":
		a.kinds = []Coding{destination, application}
	default:
		a.kinds = []Coding{source, application}
	}

	if rec.Subject != "" {
		if rec.Grant != "" {
			a.policy = []string{rec.grantPolicy()}
		}
		return a
	}

	a.requestor = true
	a.purposes = rec.Purposes
	if rec.TokenID != "" {
		a.kinds = append(a.kinds, oauthAgent)
		a.policy = []string{tokenPolicy + rec.TokenID}
	}
	return a
}

// person granted the token. The system of the identifier is that of the issuer, and
// keeps it apart from the clients'.
func (rec *Record) person() agent {
	a := agent{
		kinds:     []Coding{recipient},
		reference: rec.User,
		system:    rec.Base,
		value:     rec.Subject,
		name:      rec.Subject,
		requestor: true,
		purposes:  rec.Purposes,
	}

	switch rec.Action() {
	case "C", "U", "D":
		a.kinds = append(a.kinds, author)
	}
	if rec.TokenID != "" {
		a.kinds = append(a.kinds, oauthAgent)
		a.policy = []string{tokenPolicy + rec.TokenID}
	}
	return a
}

// grantPolicy names a grant as AuditEvent.agent.policy, a URI.
func (rec *Record) grantPolicy() string {
	if len(rec.Grant) != 32 {
		return grantPolicy + rec.Grant
	}
	g := rec.Grant
	return grantPolicy + g[:8] + "-" + g[8:12] + "-" + g[12:16] + "-" + g[16:20] + "-" + g[20:]
}

// profiles are those that the AuditEvent meets. The profiles of interactions are of
// those that succeeded; each has one resource, or one query.
func (rec *Record) profiles() []string {
	if rec.Event != nil || rec.Outcome != "0" {
		return nil
	}

	var out []string
	if name := rec.profile(); name != "" && rec.Address != "" {
		if len(rec.Patients) == 1 {
			name = "Patient" + name
		}
		out = append(out, basicAudit+name)
	}

	if rec.TokenID != "" {
		out = append(out, basicAudit+"OAUTHaccessTokenUse.Minimal")
	}
	return out
}

func (rec *Record) profile() string {
	if rec.Subtype == "create" && rec.Interaction != "create" {
		return "" // it found a resource in place of creating one
	}

	switch rec.Interaction {
	case "search-type", "search-system":
		return "Query"
	}
	if len(rec.Touched) != 1 || len(rec.Patients) > 1 {
		return ""
	}

	switch rec.Interaction {
	case "create":
		return "Create"
	case "read", "vread":
		return "Read"
	case "update", "patch":
		return "Update"
	case "delete":
		return "Delete"
	}
	return ""
}

// Body returns the AuditEvent.
func (rec *Record) Body(id string) []byte {
	stamp := rec.At.Format(instant)
	b := make([]byte, 0, 2560)
	b = append(b, `{"resourceType":"AuditEvent","id":"`+id+
		`","meta":{"versionId":"1","lastUpdated":"`+stamp+`"`...)
	b = appendList(b, "profile", rec.profiles())

	kind := rest
	if rec.Event != nil {
		kind = rec.Event.Type
	}
	b = appendCoding(append(b, `},"type":`...), kind)
	b = appendCodings(b, "subtype", rec.subtypes())
	b = append(b, `,"action":"`+rec.Action()+`","recorded":"`+stamp+
		`","outcome":"`+rec.Outcome+`"`...)
	b = appendMember(b, "outcomeDesc", rec.Failure)
	b = appendPurposes(b, "purposeOfEvent", rec.Purposes)

	b = append(b, `,"agent":[`...)
	for i, a := range rec.agents() {
		if i > 0 {
			b = append(b, ',')
		}
		b = a.append(b)
	}
	b = append(b, `],"source":{"observer":{"display":`...)
	b = append(appendString(b, rec.Base), `}}`...)

	return append(rec.appendEntities(b), '}')
}

// subtypes are AuditEvent.subtype.
func (rec *Record) subtypes() []Coding {
	if rec.Event != nil {
		return rec.Event.Subtypes
	}
	if rec.Subtype == "" {
		return nil
	}
	out := []Coding{{interactionSystem, rec.Subtype, ""}}
	if rec.Discloses() && (len(rec.Patients) > 0 || rec.Interaction == "$job-file") {
		out = append(out, disclose)
	}
	return out
}

func (a *agent) append(b []byte) []byte {
	b = append(b, `{"type":{"coding":[`...)
	for i, k := range a.kinds {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCoding(b, k)
	}

	b = append(b, `]},"who":{`...)
	start := len(b)
	if a.reference != "" {
		b = appendString(append(b, `"reference":`...), a.reference)
	}
	if a.value != "" {
		if len(b) > start {
			b = append(b, ',')
		}
		b = appendIdentifier(append(b, `"identifier":`...), a.system, a.value)
	}
	if a.display != "" {
		b = appendString(append(b, `"display":`...), a.display)
	}

	b = append(b, '}')
	b = appendMember(b, "name", a.name)
	b = append(b, `,"requestor":`+strconv.FormatBool(a.requestor)...)
	b = appendList(b, "policy", a.policy)
	if a.address != "" {
		b = appendString(append(b, `,"network":{"address":`...), a.address)
		b = append(b, `,"type":"`+a.netOf+`"}`...)
	}
	b = appendPurposes(b, "purposeOfUse", a.purposes)
	return append(b, '}')
}

// entity is one AuditEvent.entity, for the resource and for its search terms.
type entity struct {
	reference string
	labels    []Coding
	query     string
	clean     string
	Entity
}

// entities are what it was about: the patients, the resources (of a search, the
// query in their place), and the names of request and trace.
func (rec *Record) entities() []entity {
	out := make([]entity, 0, len(rec.Patients)+len(rec.Touched)+3)
	for _, p := range rec.Patients {
		out = append(out, entity{
			reference: "Patient/" + p,
			Entity: Entity{
				Type: person,
				Role: patientRole,
			},
		})
	}

	for _, v := range rec.Touched {
		reference := v.Type + "/" + v.ID
		if v.Version > 0 {
			reference += "/_history/" + strconv.FormatUint(v.Version, 10)
		}
		out = append(out, entity{
			reference: reference,
			labels:    v.Labels,
			Entity: Entity{
				Type: systemObject,
				Role: dataRole,
			},
		})
	}

	if rec.asks() {
		out = append(out, rec.queryEntity())
	}
	if rec.RequestID != "" {
		out = append(out, entity{Entity: Entity{
			Type:  requestName,
			Value: rec.RequestID,
		}})
	}
	if rec.Trace != "" {
		out = append(out, entity{Entity: Entity{
			Type:  otherObject,
			Value: rec.Trace,
			Name:  "trace",
		}})
	}
	if rec.Event != nil {
		for _, e := range rec.Event.Entities {
			out = append(out, entity{Entity: e})
		}
	}

	return out
}

// queryEntity is the query. The profiles have it without a name or reference.
func (rec *Record) queryEntity() entity {
	e := entity{
		query: rec.Query,
		clean: rec.Clean,
		Entity: Entity{
			Type: systemObject,
			Role: queryRole,
		},
	}
	if strings.HasPrefix(rec.Interaction, "$job-") {
		e.Role = jobRole
	}
	return e
}

func (rec *Record) appendEntities(b []byte) []byte {
	all := rec.entities()
	for i := range all {
		if i == 0 {
			b = append(b, `,"entity":[`...)
		} else {
			b = append(b, ',')
		}
		b = all[i].append(b)
	}

	if len(all) > 0 {
		b = append(b, ']')
	}
	return b
}

func (e *entity) append(b []byte) []byte {
	b = append(b, '{')
	switch {
	case e.reference != "":
		b = appendString(append(b, `"what":{"reference":`...), e.reference)
		b = append(b, `},`...)
	case e.Value != "":
		b = appendIdentifier(append(b, `"what":{"identifier":`...), e.System, e.Value)
		b = append(b, `},`...)
	}

	b = appendCoding(append(b, `"type":`...), e.Type)
	if e.Role.Code != "" {
		b = appendCoding(append(b, `,"role":`...), e.Role)
	}
	b = appendCodings(b, "securityLabel", e.labels)
	b = appendMember(b, "name", e.Name)
	b = appendMember(b, "description", e.clean)
	if e.query != "" {
		b = append(b, `,"query":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, []byte(e.query)), '"')
	}

	for i, d := range e.Detail {
		if i == 0 {
			b = append(b, `,"detail":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"type":`...), d.Type)
		b = append(appendString(append(b, `,"valueString":`...), d.Value), '}')
	}
	if len(e.Detail) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendIdentifier(b []byte, system, value string) []byte {
	b = append(b, '{')
	if system != "" {
		b = append(appendString(append(b, `"system":`...), system), ',')
	}
	return append(appendString(append(b, `"value":`...), value), '}')
}

// appendPurposes writes purposes of use; the form of UDAP is system#code.
func appendPurposes(b []byte, member string, purposes []string) []byte {
	for i, p := range purposes {
		if i == 0 {
			b = append(b, `,"`+member+`":[`...)
		} else {
			b = append(b, ',')
		}

		system, code, ok := strings.Cut(p, "#")
		if !ok {
			system, code = "", p
		}
		b = append(b, `{"coding":[`...)
		b = append(appendCoding(b, Coding{System: system, Code: code}), `]}`...)
	}

	if len(purposes) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendCodings(b []byte, member string, all []Coding) []byte {
	for i, c := range all {
		if i == 0 {
			b = append(b, `,"`+member+`":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendCoding(b, c)
	}

	if len(all) > 0 {
		b = append(b, ']')
	}
	return b
}

func appendCoding(b []byte, c Coding) []byte {
	b = append(b, '{')
	if c.System != "" {
		b = append(appendString(append(b, `"system":`...), c.System), ',')
	}
	b = appendString(append(b, `"code":`...), c.Code)
	b = appendMember(b, "display", c.Display)
	return append(b, '}')
}

func appendList(b []byte, member string, all []string) []byte {
	for i, s := range all {
		if i == 0 {
			b = append(b, `,"`+member+`":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}

	if len(all) > 0 {
		b = append(b, ']')
	}
	return b
}

// appendMember writes a further member, unless its value is empty.
func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, `,"`+name+`":`...), value)
}

// appendString writes a JSON string; what is not UTF-8 in it is replaced.
func appendString(b []byte, s string) []byte {
	out, err := jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		return append(b, `""`...)
	}
	return out
}
