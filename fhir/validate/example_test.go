package validate_test

import (
	"fmt"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

func ExampleValidator_Resource() {
	root, err := tree.Parse([]byte(`{"resourceType":"Patient","birthDate":"2024-02-30","gender":"F"}`))
	if err != nil {
		fmt.Println(err)
		return
	}

	issues := validate.New(table.R4()).Resource(root, validate.Options{})
	for _, i := range issues {
		fmt.Println(i.Severity, i.Expression+":", i.Text)
	}
	fmt.Println("accepted:", validate.OK(issues))
	// Output:
	// error Patient.birthDate: "2024-02-30" is not a valid date: it is not a possible date as FHIR writes it
	// error Patient.gender: "F" is not a code of administrative-gender
	// accepted: false
}
