package fhir

// routes are the interactions by shape of the path, then by method.
type routes map[string]map[string]*interaction

// allRoutes is every route.
func (s *Service) allRoutes() routes {
	var (
		searchType = &interaction{
			name: "search-type",
			read: s.reader.searchType,
		}
		searchSystem = &interaction{
			name: "search-system",
			read: s.reader.searchSystem,
		}
		searchCompartment = &interaction{
			name: "search-type",
			read: s.reader.searchCompartment,
		}
		validate = &interaction{
			name: "$validate",
			read: s.reader.validateOperation,
		}
		everything = &interaction{
			name:    "$everything",
			prepare: s.reader.prepareEverything,
			read:    s.reader.everything,
		}
		bundle = &interaction{
			name:    "batch",
			prepare: s.prepareBundle,
			entries: true,
		}
	)
	return routes{
		"": {
			"GET":  searchSystem,
			"POST": bundle,
		},
		"/_search": {
			"GET":  searchSystem,
			"POST": searchSystem,
		},
		"/_history": {"GET": {
			name: "history-system",
			read: s.reader.historySystem,
		}},
		"/Type": {
			"GET": searchType,
			"POST": {
				name:    "create",
				prepare: s.prepareResource,
				change:  s.writer.create,
			},
			"PUT": {
				name:    "update",
				prepare: s.prepareResource,
				change:  s.writer.conditionalUpdate,
			},
			"PATCH": {
				name:    "patch",
				prepare: s.writer.preparePatch,
				change:  s.writer.conditionalPatch,
			},
			"DELETE": {
				name:   "delete",
				change: s.writer.conditionalDelete,
			},
		},
		"/Type/_search": {
			"GET":  searchType,
			"POST": searchType,
		},
		"/Type/_history": {"GET": {
			name: "history-type",
			read: s.reader.historyType,
		}},
		"/Type/$validate": {"POST": validate},
		"/Type/id": {
			"GET": {
				name: "read",
				read: s.reader.read,
			},
			"PUT": {
				name:    "update",
				prepare: s.prepareResource,
				change:  s.writer.update,
			},
			"PATCH": {
				name:    "patch",
				prepare: s.writer.preparePatch,
				change:  s.writer.patch,
			},
			"DELETE": {
				name:   "delete",
				change: s.writer.delete,
			},
		},
		"/Type/id/_history": {"GET": {
			name: "history-instance",
			read: s.reader.historyInstance,
		}},
		"/Type/id/_history/version": {"GET": {
			name: "vread",
			read: s.reader.vread,
		}},
		"/Type/id/$validate": {"POST": validate},
		"/Type/id/$everything": {
			"GET":  everything,
			"POST": everything,
		},
		"/Type/id/Type": {"GET": searchCompartment},
		"/Type/id/Type/_search": {
			"GET":  searchCompartment,
			"POST": searchCompartment,
		},
	}
}
