package server_test

import (
	"context"
	"fmt"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// An originator does in a session what it does at the destination, and the session has
// each exchange with what was decided.
func TestASessionIsADestination(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{Name: "first"})
	o := s.Destination.Session(d.A, d.Client(d.A, "https://client.test/a"), "system/Patient.rs")
	if _, err := o.Client.Get(context.Background(), "Patient?_count=1", o.Token.Access); err != nil {
		t.Fatal(err)
	}

	var got []string
	for _, k := range s.Kept() {
		got = append(got, fmt.Sprintf("%s %d %d %s",
			k.Exchange.Step,
			k.Status,
			len(k.Traces),
			k.Assessment.Colour))
	}

	want := "[discover 200 0 green register 201 1 green token 200 1 green read 200 0 green]"
	if fmt.Sprint(got) != want {
		t.Errorf("kept %s, want %s", got, want)
	}
}

// A report that is asked for at once has the request before it: the client may ask
// before the destination has written down what it answered.
func TestAReportHasWhatWasAnswered(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	o := s.Destination.Session(d.A, d.Client(d.A, "https://client.test/a"), "system/Patient.rs")

	before := len(s.Kept())
	for i := range 50 {
		if _, err := o.Client.Get(context.Background(), "Patient?_count=1", o.Token.Access); err != nil {
			t.Fatal(err)
		}
		if got := len(s.Kept()); got != before+i+1 {
			t.Fatalf("after read %d there are %d exchanges, want %d", i+1, got, before+i+1)
		}
	}
}
