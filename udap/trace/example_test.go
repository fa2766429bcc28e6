package trace_test

import (
	"fmt"
	"time"

	"fhirdest.example/udap/trace"
)

var checkColour = trace.NewCheck("example.colour", "The colour is one that the server has", "")

// A decision records each check with its outcome; the refusal has the same text.
func Example() {
	decision := trace.NewTrace("paint", time.Now())
	decision.Pass(checkColour, "red or blue", "red")
	refusal := decision.Refuse(checkColour, trace.InvalidRequest, trace.Finding{
		Expected: "red or blue",
		Found:    "green",
		Remedy:   "choose one of them",
	})

	for _, s := range decision.Steps {
		fmt.Println(s.Check, s.Verdict, s.Found)
	}
	fmt.Println(refusal)
	// Output:
	// example.colour passed red
	// example.colour refused green
	// invalid_request: example.colour: expected red or blue; found green; choose one of them
}
