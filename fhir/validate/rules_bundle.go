package validate

import (
	"strings"

	"fhirdest.example/fhir/tree"
)

// bundleRules are the invariants of what carries other resources.
func bundleRules() map[string][]rule {
	return map[string][]rule{
		"Bundle": {
			forType("bdl-1", "only a search or a history has a total", present("total"), "searchset",
				"history"),
			{"bdl-2", "only a search has entry.search", func(v *tree.Value) bool {
				return ofType(v, "searchset") || !anyEntry(v, "search")
			}},
			{"bdl-3", "entries of a batch, transaction or history have a request; no others", func(v *tree.Value) bool {
				return everyEntry(
					v,
					"request",
					ofType(v, "batch", "transaction", "history"),
				)
			}},
			{"bdl-4", "each entry of a response or history has a response, and no other", func(v *tree.Value) bool {
				return everyEntry(
					v,
					"response",
					ofType(v, "batch-response", "transaction-response", "history"),
				)
			}},
			{"bdl-7", "a fullUrl is there once for each version", distinctFullURLs},
			{"bdl-9", "a document has an identifier with system and value", func(v *tree.Value) bool {
				return !ofType(v, "document") || v.At("identifier", "system") != nil &&
					v.At("identifier", "value") != nil
			}},
			{"bdl-10", "a document has a timestamp", func(v *tree.Value) bool {
				return !ofType(v, "document") || has(v, "timestamp")
			}},
			{
				"bdl-11",
				"a document begins with a Composition",
				beginsWith("document", "Composition"),
			},
			{
				"bdl-12",
				"a message begins with a MessageHeader",
				beginsWith("message", "MessageHeader"),
			},
		},
		"Bundle.entry": {
			some("bdl-5", "resource", "request", "response"),
			{"bdl-8", "a fullUrl names no version", func(v *tree.Value) bool {
				return !strings.Contains(v.Get("fullUrl").Text(), "/_history/")
			}},
		},
		"Parameters.parameter": {{"inv-1", "a parameter has parts, a value or a resource", func(v *tree.Value) bool {
			return count(v, "part", "value[x]", "resource") == 1
		}}},
	}
}

func ofType(v *tree.Value, types ...string) bool {
	return among(v.Get("type").Text(), types...)
}

func present(name string) func(*tree.Value) bool {
	return func(v *tree.Value) bool { return has(v, name) }
}

// forType makes a rule: what is there is there in these types only.
func forType(key, text string, there func(*tree.Value) bool, types ...string) rule {
	return rule{key, text, func(v *tree.Value) bool {
		return !there(v) || ofType(v, types...)
	}}
}

func anyEntry(v *tree.Value, member string) bool {
	for _, e := range v.Get("entry").Each() {
		if has(&e, member) {
			return true
		}
	}
	return false
}

// everyEntry reports whether all entries have a member, or none has.
func everyEntry(v *tree.Value, member string, wanted bool) bool {
	for _, e := range v.Get("entry").Each() {
		if has(&e, member) != wanted {
			return false
		}
	}
	return true
}

func distinctFullURLs(v *tree.Value) bool {
	if ofType(v, "history") {
		return true
	}

	met := map[string]bool{}
	for _, e := range v.Get("entry").Each() {
		url := e.Get("fullUrl").Text()
		if url == "" {
			continue
		}

		key := url + " " + e.At("resource", "meta", "versionId").Text()
		if met[key] {
			return false
		}
		met[key] = true
	}

	return true
}

func beginsWith(bundle, resource string) func(*tree.Value) bool {
	return func(v *tree.Value) bool {
		entries := v.Get("entry").Each()
		return !ofType(v, bundle) || len(entries) > 0 &&
			entries[0].At("resource", "resourceType").Text() == resource
	}
}
