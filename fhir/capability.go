package fhir

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/samply/golang-fhir-models/fhir-models/fhir"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// capabilityDate is the day of the last change in kind of the statement.
const capabilityDate = "2026-11-30"

// capabilityStatement describes what the service does, from the routes and search
// parameters that it has.
func (s *describer) capabilityStatement() ([]byte, error) {
	st := fhir.CapabilityStatement{
		Date:     capabilityDate,
		Format:   []string{"application/fhir+json", "json", "application/fhir+xml", "xml"},
		Name:     ptr("Destination"),
		Title:    ptr("FHIR destination"),
		Software: &fhir.CapabilityStatementSoftware{Name: "destination"},
		Implementation: &fhir.CapabilityStatementImplementation{
			Description: "A FHIR R4 destination of UDAP-trusted exchange",
			Url:         ptr(s.PublicBase),
		},
		Instantiates: []string{
			"http://hl7.org/fhir/us/core/CapabilityStatement/us-core-server",
			"http://hl7.org/fhir/us/exchange-routing/CapabilityStatement/exchange-routing-destination-server",
		},
	}

	if s.Jobs != nil {
		st.Instantiates = append(st.Instantiates, bulkData+"CapabilityStatement/bulk-data")
	}

	c := coder{}
	c.set(&st.Status, "active")
	c.set(&st.Kind, "instance")
	c.set(&st.FhirVersion, "4.0.1")
	if _, ok := s.routes["/Type/id"]["PATCH"]; ok {
		st.PatchFormat = []string{"application/json-patch+json"}
	}
	st.Rest = []fhir.CapabilityStatementRest{s.capabilityRest(&c)}
	if c.err != nil {
		return nil, c.err
	}

	return authored(st, "CapabilityStatement")
}

// bulkData begins the canonical URLs of Bulk Data Access.
const bulkData = "http://hl7.org/fhir/uv/bulkdata/"

func ptr[T any](v T) *T { return &v }

// coder fills in the models' code types by their codes, keeping the first
// failure.
type coder struct{ err error }

func (c *coder) set(to interface{ UnmarshalJSON([]byte) error }, code string) {
	if err := to.UnmarshalJSON([]byte(`"` + code + `"`)); err != nil && c.err == nil {
		c.err = fmt.Errorf("fhir: code %s: %w", code, err)
	}
}

func (s *describer) capabilityRest(c *coder) fhir.CapabilityStatementRest {
	rest := fhir.CapabilityStatementRest{
		Security: s.capabilitySecurity(),
		Documentation: ptr(fmt.Sprintf(
			"A request's body has at most %d bytes, a resource %d, and what a Binary holds %d. "+
				"A batch or transaction has at most %d entries. "+
				"One answer has at most %d bytes: longer results come in pages.",
			s.MaxBody, tree.MaxBytes, maxContent, maxEntries, maxAnswer)),
	}
	c.set(&rest.Mode, "server")
	if s.Provenance {
		*rest.Documentation += " Each change has a Provenance; the header X-Provenance brings one in its place."
	}

	for _, code := range s.systemInteractions() {
		var in fhir.CapabilityStatementRestInteraction
		c.set(&in.Code, code)
		rest.Interaction = append(rest.Interaction, in)
	}

	if s.Jobs != nil {
		rest.Operation = []fhir.CapabilityStatementRestResourceOperation{
			{
				Name:       "export",
				Definition: bulkData + "OperationDefinition/export",
			},
			{
				Name:       "import",
				Definition: s.PublicBase + "/OperationDefinition/import",
				Documentation: ptr("POST of NDJSON (application/fhir+ndjson) with Prefer: respond-async. A line with " +
					"an id is stored as by PUT, one without as by POST, as far as the token may write. The status " +
					"URL gives how many of each type were stored, and a file of OperationOutcomes for lines that " +
					"were refused. Nothing is fetched from addresses."),
			},
		}
	}

	for _, typ := range search.Types() {
		rest.Resource = append(rest.Resource, s.capabilityResource(c, typ))
	}

	for _, of := range search.Compartments() {
		rest.Compartment = append(rest.Compartment,
			"http://hl7.org/fhir/CompartmentDefinition/"+strings.ToLower(of[:1])+of[1:])
	}

	return rest
}

const oauthURIs = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"

// capabilitySecurity names UDAP as the way in, and the endpoints that the
// caller gave.
func (s *describer) capabilitySecurity() *fhir.CapabilityStatementRestSecurity {
	sec := &fhir.CapabilityStatementRestSecurity{
		Cors: ptr(s.CORS),
		Service: []fhir.CodeableConcept{{Coding: []fhir.Coding{{
			System: ptr("http://fhir.udap.org/CodeSystem/capability-rest-security-service"),
			Code:   ptr("UDAP"),
		}},
			Text: ptr("OAuth 2 with clients registered and authenticated by UDAP")}},
	}

	names := make([]string, 0, len(s.Services))
	for name := range s.Services {
		names = append(names, name)
	}

	sort.Strings(names)
	ext := fhir.Extension{Url: oauthURIs}

	for _, name := range names {
		ext.Extension = append(ext.Extension, fhir.Extension{
			Url:      name,
			ValueUri: ptr(s.Services[name]),
		})
	}

	if len(names) > 0 {
		sec.Extension = []fhir.Extension{ext}
	}
	return sec
}

// typeInteractions are the interactions with a type that the routes have, in
// the statement's words.
func (s *describer) typeInteractions() []string {
	var all []string
	for _, one := range []struct{ shape, method, code string }{
		{"/Type/id", "GET", "read"}, {"/Type/id/_history/version", "GET", "vread"},
		{"/Type/id", "PUT", "update"}, {"/Type/id", "PATCH", "patch"}, {"/Type/id", "DELETE", "delete"},
		{"/Type/id/_history", "GET", "history-instance"}, {"/Type/_history", "GET", "history-type"},
		{"/Type", "POST", "create"}, {"/Type", "GET", "search-type"},
	} {
		if _, ok := s.routes[one.shape][one.method]; ok {
			all = append(all, one.code)
		}
	}

	return all
}

func (s *describer) systemInteractions() []string {
	all := []string{"search-system"}
	if _, ok := s.routes[""]["POST"]; ok {
		all = append(all, "batch", "transaction")
	}
	if _, ok := s.routes["/_history"]; ok {
		all = append(all, "history-system")
	}
	return all
}

// readOnly are types that clients cannot write: the server's own record, and
// what is no resource of its own (R4 parameters.html, operationoutcome.html).
var readOnly = map[string]bool{
	"AuditEvent":       true,
	"OperationOutcome": true,
	"Parameters":       true,
}

func (s *describer) capabilityResource(
	c *coder, typ string,
) fhir.CapabilityStatementRestResource {
	var r fhir.CapabilityStatementRestResource
	c.set(&r.Type, typ)
	for _, code := range s.typeInteractions() {
		if readOnly[typ] && (code == "create" || code == "update" || code == "patch" ||
			code == "delete") {
			continue
		}

		var in fhir.CapabilityStatementRestResourceInteraction
		c.set(&in.Code, code)
		r.Interaction = append(r.Interaction, in)
	}

	for _, profile := range usCore[typ] {
		r.SupportedProfile = append(r.SupportedProfile, usCoreProfile+profile)
	}

	s.capabilityWrites(c, typ, &r)
	r.SearchRevInclude = revIncludes(typ)
	r.Operation = s.typeOperations(typ)

	for _, p := range search.Params(typ) {
		sp := fhir.CapabilityStatementRestResourceSearchParam{Name: p.Code}
		c.set(&sp.Type, string(p.Kind))
		r.SearchParam = append(r.SearchParam, sp)
		if p.Kind == search.Reference {
			r.SearchInclude = append(r.SearchInclude, typ+":"+p.Code)
		}
	}

	return r
}

// revIncludes lists the references that are declared to lead to a type, and that of
// Provenance, which leads to all.
func revIncludes(typ string) []string {
	var all []string
	for _, from := range search.Types() {
		for _, p := range search.Params(from) {
			if p.Kind == search.Reference && (slices.Contains(p.Targets, typ) || from == "Provenance" &&
				p.Code == "target") {
				all = append(all, from+":"+p.Code)
			}
		}
	}

	return all
}

// typeOperations are the operations that the routes have for a type.
func (s *describer) typeOperations(
	typ string,
) []fhir.CapabilityStatementRestResourceOperation {
	const definition = "http://hl7.org/fhir/OperationDefinition/"
	var all []fhir.CapabilityStatementRestResourceOperation
	if _, ok := s.routes["/Type/$validate"]; ok {
		all = append(all, fhir.CapabilityStatementRestResourceOperation{
			Name:       "validate",
			Definition: definition + "Resource-validate",
		})
	}

	if _, ok := s.routes["/Type/id/$everything"]; ok && typ == "Patient" {
		all = append(all, fhir.CapabilityStatementRestResourceOperation{
			Name:       "everything",
			Definition: definition + "Patient-everything",
		})
	}

	if _, ok := s.routes["/Type/id/$disclosures"]; ok && typ == "Patient" {
		all = append(all, fhir.CapabilityStatementRestResourceOperation{
			Name:       "disclosures",
			Definition: s.PublicBase + "/OperationDefinition/Patient-disclosures",
			Documentation: ptr("Accounts for the disclosures of the patient's data, from start to end: a Bundle of " +
				"AuditEvents, one for each recipient and purpose. It needs a scope on AuditEvent, and a client " +
				"that may read all audit records."),
		})
	}

	if _, ok := s.routes["/Type/$match"]; ok && typ == "Patient" {
		all = append(all, fhir.CapabilityStatementRestResourceOperation{
			Name:       "match",
			Definition: definition + "Patient-match",
			Documentation: ptr("Needs the scope system/Patient.$match, which no wildcard includes, and one to read " +
				"patients: only these are found. The input holds the IDI-Patient profile that it asserts in " +
				"meta.profile, or has a weight of 9 by the Identity Matching guide. A client that asks too often " +
				"gets 429 with Retry-After."),
		})
	}

	if _, ok := s.routes["/Type/id/$sign"]; ok {
		all = append(all, fhir.CapabilityStatementRestResourceOperation{
			Name:          "sign",
			Definition:    s.PublicBase + "/OperationDefinition/sign",
			Documentation: ptr("On an instance: stores a Provenance with the server's signature of it."),
		})
	}

	if level, ok := exportLevels[typ]; ok && s.Jobs != nil {
		all = append(all, fhir.CapabilityStatementRestResourceOperation{
			Name:       "export",
			Definition: bulkData + "OperationDefinition/" + level,
		})
	}

	return all
}

// exportLevels are the operations by which a type's resources, or those of its
// members, are exported.
var exportLevels = map[string]string{
	"Patient": "patient-export",
	"Group":   "group-export",
}

// capabilityWrites declares the conditional forms and version handling.
func (s *describer) capabilityWrites(
	c *coder, typ string, r *fhir.CapabilityStatementRestResource,
) {
	r.Versioning = new(fhir.ResourceVersionPolicy)
	c.set(r.Versioning, "versioned")
	r.ConditionalRead = new(fhir.ConditionalReadStatus)
	c.set(r.ConditionalRead, "full-support")
	if _, ok := s.routes["/Type"]["PUT"]; !ok || readOnly[typ] {
		return
	}

	r.ReadHistory, r.UpdateCreate = ptr(true), ptr(true)
	r.ConditionalCreate, r.ConditionalUpdate = ptr(true), ptr(true)
	r.ConditionalDelete = new(fhir.ConditionalDeleteStatus)
	c.set(r.ConditionalDelete, "single")
}

// authored writes a resource that the server itself made through the models,
// resourceType first.
func authored(v any, typ string) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("fhir: %s: %w", typ, err)
	}

	var members map[string]jsontext.Value
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, fmt.Errorf("fhir: %s: %w", typ, err)
	}

	delete(members, "resourceType")
	rest, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("fhir: %s: %w", typ, err)
	}

	head := []byte(`{"resourceType":"` + typ + `"`)
	if len(members) > 0 {
		head = append(head, ',')
	}
	return append(head, bytes.TrimPrefix(rest, []byte("{"))...), nil
}
