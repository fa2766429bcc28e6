package scope_test

import (
	"fmt"

	"fhirdest.example/fhir/scope"
)

// A server grants the part of a request that it lists.
func ExampleCatalogue_Negotiate() {
	isType := func(name string) bool { return name == "Patient" || name == "Observation" }
	listed, err := scope.NewCatalogue([]string{"system/*.rs", "system/Patient.rs"}, isType, nil)
	if err != nil {
		panic(err)
	}

	request := scope.Request{
		Scopes:   []string{"system/Patient.cruds", "system/Observation.r", "openid"},
		Contexts: []string{"system"},
	}
	answer := listed.Negotiate(request)
	fmt.Println(answer.Granted)
	for _, refused := range answer.Refused {
		fmt.Println(listed.Why(request, refused))
	}
	// Output:
	// [system/Patient.rs system/Observation.r]
	// "openid" is no scope of this grant type, which has scopes of the context system
}

// A service asks which scopes of a token allow an interaction.
func ExampleSet_For() {
	set, others := scope.ParseSet([]string{"system/Observation.rs?category=laboratory", "openid"})
	fmt.Println(others)
	for _, s := range set.For("Observation", scope.Read) {
		fmt.Println(s.Type, s.Allowed, s.Query)
	}
	fmt.Println(len(set.For("Patient", scope.Read)))
	// Output:
	// [openid]
	// Observation rs [{category laboratory}]
	// 0
}
