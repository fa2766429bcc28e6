package fhir

// routes are the interactions by shape of the path, then by method.
type routes map[string]map[string]*interaction

// allRoutes is every route.
func allRoutes() routes {
	var (
		searchType        = &interaction{name: "search-type", read: (*Service).searchType}
		searchSystem      = &interaction{name: "search-system", read: (*Service).searchSystem}
		searchCompartment = &interaction{name: "search-type", read: (*Service).searchCompartment}
		validate          = &interaction{name: "$validate", read: (*Service).validateOperation}
		everything        = &interaction{
			name:    "$everything",
			prepare: (*Service).prepareEverything,
			read:    (*Service).everything,
		}
		bundle = &interaction{
			name:    "batch",
			prepare: (*Service).prepareBundle,
			entries: true,
		}
	)
	return routes{
		"":          {"GET": searchSystem, "POST": bundle},
		"/_search":  {"GET": searchSystem, "POST": searchSystem},
		"/_history": {"GET": {name: "history-system", read: (*Service).historySystem}},
		"/Type": {
			"GET": searchType,
			"POST": {
				name:    "create",
				prepare: (*Service).prepareResource,
				change:  (*Service).create,
			},
			"PUT": {
				name:    "update",
				prepare: (*Service).prepareResource,
				change:  (*Service).conditionalUpdate,
			},
			"PATCH": {
				name:    "patch",
				prepare: (*Service).preparePatch,
				change:  (*Service).conditionalPatch,
			},
			"DELETE": {name: "delete", change: (*Service).conditionalDelete},
		},
		"/Type/_search":   {"GET": searchType, "POST": searchType},
		"/Type/_history":  {"GET": {name: "history-type", read: (*Service).historyType}},
		"/Type/$validate": {"POST": validate},
		"/Type/id": {
			"GET": {name: "read", read: (*Service).read},
			"PUT": {
				name:    "update",
				prepare: (*Service).prepareResource,
				change:  (*Service).update,
			},
			"PATCH":  {name: "patch", prepare: (*Service).preparePatch, change: (*Service).patch},
			"DELETE": {name: "delete", change: (*Service).delete},
		},
		"/Type/id/_history": {"GET": {
			name: "history-instance",
			read: (*Service).historyInstance,
		}},
		"/Type/id/_history/version": {"GET": {name: "vread", read: (*Service).vread}},
		"/Type/id/$validate":        {"POST": validate},
		"/Type/id/$everything":      {"GET": everything, "POST": everything},
		"/Type/id/Type":             {"GET": searchCompartment},
		"/Type/id/Type/_search":     {"GET": searchCompartment, "POST": searchCompartment},
	}
}
