package audit

import (
	"fhirdest.example/fhir/trail"
	"fhirdest.example/udap/trace"
)

// Code systems of events: DICOM PS3.16, the transactions of IHE, and the types and
// roles of what an event is about (R4 valueset-audit-entity-type.html).
const (
	dicomSystem  = "http://dicom.nema.org/resources/ontology/DCM"
	iheSystem    = "urn:ihe:event-type-code"
	objectSystem = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	roleSystem   = "http://terminology.hl7.org/CodeSystem/object-role"
	tokenSystem  = "urn:ietf:params:oauth:jti"
)

var (
	activity       = trail.Coding{System: dicomSystem, Code: "110100", Display: "Application Activity"}
	query          = trail.Coding{System: dicomSystem, Code: "110112", Display: "Query"}
	alert          = trail.Coding{System: dicomSystem, Code: "110113", Display: "Security Alert"}
	authentication = trail.Coding{System: dicomSystem, Code: "110114", Display: "User Authentication"}

	started         = trail.Coding{System: dicomSystem, Code: "110120", Display: "Application Start"}
	login           = trail.Coding{System: dicomSystem, Code: "110122", Display: "Login"}
	logout          = trail.Coding{System: dicomSystem, Code: "110123", Display: "Logout"}
	rolesChanged    = trail.Coding{System: dicomSystem, Code: "110136", Display: "Security Roles Changed"}
	userChanged     = trail.Coding{System: dicomSystem, Code: "110137", Display: "User Security Attributes Changed"}
	getToken        = trail.Coding{System: iheSystem, Code: "ITI-71", Display: "Get Access Token"}
	introspectToken = trail.Coding{System: iheSystem, Code: "ITI-102", Display: "Introspect Token"}

	otherObject  = trail.Coding{System: objectSystem, Code: "4", Display: "Other"}
	systemObject = trail.Coding{System: objectSystem, Code: "2", Display: "System Object"}
	securityRole = trail.Coding{System: roleSystem, Code: "13", Display: "Security Resource"}
)

// kind is how an effect is recorded.
type kind struct {
	typ     trail.Coding
	subtype []trail.Coding // one
	action  string         // AuditEvent.action
}

var kinds = map[trace.Effect]kind{
	trace.Registered:   {alert, []trail.Coding{rolesChanged}, "C"},
	trace.Changed:      {alert, []trail.Coding{rolesChanged}, "U"},
	trace.Cancelled:    {alert, []trail.Coding{rolesChanged}, "D"},
	trace.Issued:       {authentication, []trail.Coding{getToken}, "E"},
	trace.Introspected: {query, []trail.Coding{introspectToken}, "E"},
	trace.Revoked:      {alert, []trail.Coding{userChanged}, "U"},
	trace.SignedIn:     {authentication, []trail.Coding{login}, "E"},
	trace.SignedOut:    {authentication, []trail.Coding{logout}, "E"},
	trace.Approved:     {alert, []trail.Coding{userChanged}, "C"},
	trace.Withdrawn:    {alert, []trail.Coding{userChanged}, "D"},
	trace.Launched:     {activity, []trail.Coding{started}, "E"},
}

// sought is the effect that an action has when nothing is refused.
var sought = map[string]trace.Effect{
	"register":   trace.Registered,
	"token":      trace.Issued,
	"introspect": trace.Introspected,
	"revoke":     trace.Revoked,
	"userinfo":   trace.Introspected,
	"authorize":  trace.Approved,
	"consent":    trace.Approved,
	"grants":     trace.Withdrawn,
	"signin":     trace.SignedIn,
	"signout":    trace.SignedOut,
	"callback":   trace.SignedIn,
}

// Event returns the audit record of a decision of the authorization server; ok is
// false when it has none. It has one when something came of it that lasts, or when
// it refused a party that had proved who it is. issuer is the authorization server.
func Event(d *Decision, issuer string) (rec trail.Record, ok bool) {
	t := &d.Trace
	effect, refused := t.Effect, false
	if t.Code != "" {
		effect, refused = sought[t.Action], true
	}

	k, ok := kinds[effect]
	if !ok || refused && !d.Authenticated {
		return rec, false
	}

	event := &struct {
		trail.Event
		room [mostEntities]trail.Entity
	}{}
	event.Event = trail.Event{
		Type:     k.typ,
		Subtypes: k.subtype,
		Action:   k.action,
		Entities: entities(event.room[:0], t, issuer),
	}

	rec = trail.Record{
		Client:  string(t.ClientID),
		Address: t.Address,
		Subject: t.Person,
		Grant:   t.Grant,
		At:      t.Time,
		Outcome: "0",
		Trace:   t.ID,
		Event:   &event.Event,
	}
	if rec.Client == "" {
		rec.Client = string(t.Client)
	}

	if t.Patient != "" {
		rec.Patients = []string{t.Patient}
	}
	if refused {
		rec.Event.Type = alert
		rec.Outcome, rec.Failure = outcomeOf(t)
	} else if effect == trace.Issued {
		rec.TokenID = t.Token
	}
	return rec, true
}

// outcomeOf returns AuditEvent.outcome and outcomeDesc of a refusal: a minor failure
// of the other side, or a serious one of the server.
func outcomeOf(t *trace.Trace) (outcome, text string) {
	text = string(t.Code) + " " + RefusedBy(t)
	switch t.Code {
	case trace.ServerError, trace.TemporarilyUnavailable:
		return "8", text
	}
	return "4", text
}

// mostEntities is how many entities a record has at most.
const mostEntities = 5

// entities appends the parties and the token that a decision was about, by their names.
func entities(out []trail.Entity, t *trace.Trace, issuer string) []trail.Entity {
	for _, e := range []struct{ name, value string }{
		{"issuer", issuer},
		{"community", string(t.Community)},
		{"client", string(t.Client)},
		{"effect", string(t.Effect)},
	} {
		if e.value != "" {
			out = append(out, trail.Entity{
				Type:  otherObject,
				Name:  e.name,
				Value: e.value,
			})
		}
	}

	if t.Token != "" {
		out = append(out, trail.Entity{
			Type:   systemObject,
			Role:   securityRole,
			System: tokenSystem,
			Value:  t.Token,
			Name:   "token",
		})
	}
	return out
}
