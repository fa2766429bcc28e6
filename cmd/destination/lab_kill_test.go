package main

import (
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// A server that is killed in the middle of a session has it again after the start, with
// what was kept, its registrations and its tokens, and goes on to keep what arrives.
func TestTheLabSurvivesKill(t *testing.T) {
	w := newEnv(t)
	servertest.Lab(w)
	path := config(t, w)
	p := startProcess(t, w, path)
	s := p.d.OpenLab(lab.OpenRequest{Name: "killed"})
	token := s.Destination.Session(w.A, w.Client(w.A, "https://killed.test"), "system/Patient.rs").Token.Access

	for round := range 3 {
		before := s.Kept()
		p.kill()
		p = startProcess(t, w, path)
		s = p.d.LabSession(s.Session.ID)

		after := s.Kept()
		if len(after) != len(before) || after[len(after)-1].Target != before[len(before)-1].Target {
			t.Errorf("round %d: %d exchanges, and %d before the kill", round, len(after), len(before))
		}
		res, body := p.d.Get(s.Session.Base+"/Patient?_count=1", "Authorization", "Bearer "+token)
		if res.StatusCode != 200 {
			t.Errorf("round %d: a read: %s %s", round, res.Status, body)
		}

		if n := len(s.Kept()); n != len(before)+1 {
			t.Errorf("round %d: %d exchanges after a read, want %d", round, n, len(before)+1)
		}
	}
}
