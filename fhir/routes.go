package fhir

import (
	"maps"
	"slices"
)

// routes are the interactions by shape of the path, then by method.
type routes map[string]map[string]*interaction

// allRoutes is every route.
func (s *Service) allRoutes() routes {
	r, w := s.reader, s.writer

	var (
		searchType        = &interaction{name: "search-type", read: r.searchType}
		searchSystem      = &interaction{name: "search-system", read: r.searchSystem}
		searchCompartment = &interaction{name: "search-type", read: r.searchCompartment}
		validate          = &interaction{name: "$validate", read: r.validateOperation}
		everything        = &interaction{name: "$everything", prepare: r.prepareParameters, read: r.everything}
		disclosures       = &interaction{name: "$disclosures", prepare: r.prepareParameters, read: r.disclosures}
		bundle            = &interaction{name: "batch", prepare: s.prepareBundle, entries: true}
	)
	all := routes{
		"":          {"GET": searchSystem, "POST": bundle},
		"/_search":  {"GET": searchSystem, "POST": searchSystem},
		"/_history": {"GET": {name: "history-system", read: r.historySystem}},
		"/Type": {
			"GET":    searchType,
			"POST":   {name: "create", prepare: s.prepareResource, change: w.create},
			"PUT":    {name: "update", prepare: s.prepareResource, change: w.conditionalUpdate},
			"PATCH":  {name: "patch", prepare: w.preparePatch, change: w.conditionalPatch},
			"DELETE": {name: "delete", change: w.conditionalDelete},
		},
		"/Type/_search":   {"GET": searchType, "POST": searchType},
		"/Type/_history":  {"GET": {name: "history-type", read: r.historyType}},
		"/Type/$validate": {"POST": validate},
		"/Type/$match":    {"POST": {name: "$match", prepare: r.prepareMatch, read: r.matchPatients}},
		"/Type/id": {
			"GET":    {name: "read", read: r.read, short: true},
			"PUT":    {name: "update", prepare: s.prepareResource, change: w.update},
			"PATCH":  {name: "patch", prepare: w.preparePatch, change: w.patch},
			"DELETE": {name: "delete", change: w.delete},
		},
		"/Type/id/_history":         {"GET": {name: "history-instance", read: r.historyInstance}},
		"/Type/id/_history/version": {"GET": {name: "vread", read: r.vread, short: true}},
		"/Type/id/$validate":        {"POST": validate},
		"/Type/id/$everything":      {"GET": everything, "POST": everything},
		"/Type/id/$disclosures":     {"GET": disclosures, "POST": disclosures},
		"/Type/id/Type":             {"GET": searchCompartment},
		"/Type/id/Type/_search":     {"GET": searchCompartment, "POST": searchCompartment},
	}

	if s.Signatures != nil {
		sign := &interaction{name: "$sign", prepare: w.prepareSign, change: w.storeSigned}
		all["/Type/id/$sign"] = map[string]*interaction{"POST": sign}
	}
	if s.Jobs != nil {
		export := &interaction{name: "$export", prepare: r.prepareParameters, answer: s.desk.kickOff}
		all["/$export"] = map[string]*interaction{"GET": export, "POST": export}
		all["/Type/$export"] = map[string]*interaction{"GET": export, "POST": export}
		all["/Type/id/$export"] = map[string]*interaction{"GET": export, "POST": export}
		all["/$import"] = map[string]*interaction{"POST": {name: "$import", answer: s.desk.kickOff}}
		all["/_jobs/id"] = map[string]*interaction{
			"GET":    {name: "$job-status", answer: s.desk.jobStatus},
			"DELETE": {name: "$job-cancel", answer: s.desk.jobCancel},
		}
		all["/_jobs/id/file"] = map[string]*interaction{"GET": {name: "$job-file", answer: s.desk.jobFile}}
	}

	return all
}

// Interactions returns the methods of all interactions, by the shape of the path below
// the base: "/Type/id", for example.
func Interactions(s *Service) map[string][]string {
	all := map[string][]string{}
	for shape, methods := range s.routes {
		all[shape] = slices.Sorted(maps.Keys(methods))
	}
	return all
}
