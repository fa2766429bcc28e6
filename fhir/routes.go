package fhir

import "sync"

// interactions is every route: by shape of the path, then by method.
var interactions = sync.OnceValue(func() map[string]map[string]*interaction {
	searchType := &interaction{name: "search-type", read: (*service).searchType}
	searchSystem := &interaction{name: "search-system", read: (*service).searchSystem}
	searchCompartment := &interaction{name: "search-type", read: (*service).searchCompartment}
	return map[string]map[string]*interaction{
		"":                      {"GET": searchSystem},
		"/_search":              {"GET": searchSystem, "POST": searchSystem},
		"/Type":                 {"GET": searchType},
		"/Type/_search":         {"GET": searchType, "POST": searchType},
		"/Type/id":              {"GET": {name: "read", read: (*service).read}},
		"/Type/id/Type":         {"GET": searchCompartment},
		"/Type/id/Type/_search": {"GET": searchCompartment, "POST": searchCompartment},
	}
})
