package server_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// A session with its registrations, its tokens and what it kept is there after a
// restart, and what is found about its exchanges is the same.
func TestSessionsSurviveARestart(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{Name: "kept"})
	o := s.Destination.Session(d.A, d.Client(d.A, "https://client.test/a"), "system/Patient.rs")
	before, err := json.Marshal(s.Kept())
	if err != nil {
		t.Fatal(err)
	}

	d.Stop()
	again := d.Env.Start(d.Listen())
	known := again.LabSession(s.Session.ID)
	after, err := json.Marshal(known.Kept())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Errorf("kept\n%s\nand after a restart\n%s", before, after)
	}

	c := known.Originator(d.A, d.Client(d.A, "https://client.test/other"))
	if _, err := c.Get(context.Background(), "Patient?_count=1", o.Token.Access); err != nil {
		t.Errorf("a token from before: %v", err)
	}
	if n := len(known.Kept()); n != 4 {
		t.Errorf("%d exchanges, want 4", n)
	}
}
