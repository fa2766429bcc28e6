package search_test

import (
	"context"
	"fmt"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// A query is parsed against the parameters of a type; what a lenient server does
// not understand is left out and listed.
func ExampleParser_Parse() {
	var ps search.Parser
	q, err := ps.Parse(context.Background(), []string{"Observation"}, []search.Pair{
		{Name: "patient.name", Value: "smith"},
		{Name: "value-quantity", Value: "ge36.6"},
		{Name: "mood", Value: "good"},
	}, false)
	if err != nil {
		fmt.Println(err)
		return
	}

	fmt.Println(len(q.Clauses), q.Ignored)
	// Output: 2 [Observation has no search parameter "mood"]
}

// The terms of a resource are what a store indexes; a clause decides by them
// whether the resource matches.
func ExampleExtractor_Extract() {
	root, err := tree.Parse([]byte(`{"resourceType":"Patient","id":"p","name":[{"family":"O'Neil"}]}`))
	if err != nil {
		fmt.Println(err)
		return
	}

	var x search.Extractor
	terms, err := x.Extract("Patient", root, search.Stamp{ID: "p"})
	if err != nil {
		fmt.Println(err)
		return
	}

	var ps search.Parser
	for _, name := range []string{"oneil", "smith"} {
		clause, err := ps.Plain("Patient", "family", name)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(name, search.Filter{}.Or([]search.Clause{clause}).Passes("p", terms))
	}
	// Output:
	// oneil true
	// smith false
}
