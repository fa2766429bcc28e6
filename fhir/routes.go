package fhir

// routes are the interactions by shape of the path, then by method.
type routes map[string]map[string]*interaction

// allRoutes is every route.
func allRoutes() routes {
	var (
		searchType        = &interaction{name: "search-type", read: (*service).searchType}
		searchSystem      = &interaction{name: "search-system", read: (*service).searchSystem}
		searchCompartment = &interaction{name: "search-type", read: (*service).searchCompartment}
		validate          = &interaction{name: "$validate", read: (*service).validateOperation}
		everything        = &interaction{
			name:    "$everything",
			prepare: (*service).prepareEverything,
			read:    (*service).everything,
		}
		bundle = &interaction{
			name:    "batch",
			prepare: (*service).prepareBundle,
			entries: true,
		}
	)
	return routes{
		"":          {"GET": searchSystem, "POST": bundle},
		"/_search":  {"GET": searchSystem, "POST": searchSystem},
		"/_history": {"GET": {name: "history-system", read: (*service).historySystem}},
		"/Type": {
			"GET": searchType,
			"POST": {
				name:    "create",
				prepare: (*service).prepareResource,
				change:  (*service).create,
			},
			"PUT": {
				name:    "update",
				prepare: (*service).prepareResource,
				change:  (*service).conditionalUpdate,
			},
			"PATCH": {
				name:    "patch",
				prepare: (*service).preparePatch,
				change:  (*service).conditionalPatch,
			},
			"DELETE": {name: "delete", change: (*service).conditionalDelete},
		},
		"/Type/_search":   {"GET": searchType, "POST": searchType},
		"/Type/_history":  {"GET": {name: "history-type", read: (*service).historyType}},
		"/Type/$validate": {"POST": validate},
		"/Type/id": {
			"GET": {name: "read", read: (*service).read},
			"PUT": {
				name:    "update",
				prepare: (*service).prepareResource,
				change:  (*service).update,
			},
			"PATCH":  {name: "patch", prepare: (*service).preparePatch, change: (*service).patch},
			"DELETE": {name: "delete", change: (*service).delete},
		},
		"/Type/id/_history": {"GET": {
			name: "history-instance",
			read: (*service).historyInstance,
		}},
		"/Type/id/_history/version": {"GET": {name: "vread", read: (*service).vread}},
		"/Type/id/$validate":        {"POST": validate},
		"/Type/id/$everything":      {"GET": everything, "POST": everything},
		"/Type/id/Type":             {"GET": searchCompartment},
		"/Type/id/Type/_search":     {"GET": searchCompartment, "POST": searchCompartment},
	}
}
