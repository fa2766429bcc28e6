package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/server/doctor"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/trace"
)

// A destination in its usual state is found in order at both of its base URLs, from its
// configuration alone; what its operator should look at is in words, and for programs.
//
// Covers: FS-101, FS-102, FS-104, FS-105
func TestDoctor(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Explain = "operator" })
	path := config(t, d.Env)
	ca := filepath.Join(d.Dir, "tls-root.pem")
	if err := certs.WriteCertificates(ca, d.TLS.Cert); err != nil {
		t.Fatal(err)
	}

	args := []string{"doctor", "-config", path, "-public", d.Addr, "-private", d.Addr, "-ca", ca}
	code, stdout, stderr := runIt(args...)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "\ngrade: adequate\n") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}

	code, stdout, _ = runIt(append(args, "-json")...)
	var found diagnosis
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || code != 0 {
		t.Fatalf("exit %d, %v\n%s", code, err, stdout)
	}
	if found.Grade != doctor.Adequate || len(found.Places) != 2 {
		t.Errorf("grade %s of %d places", found.Grade, len(found.Places))
	}

	for _, place := range found.Places {
		for _, s := range place.Trace.Steps {
			bad := s.Verdict == trace.Refused || s.Verdict == trace.Warned
			if bad && s.Check != "tls.revocation" { // the test's authority has no CRL
				t.Errorf("%s: %s %s: %s", place.Name, s.Check, s.Verdict, s.Found)
			}
		}
	}
}

// Without the private authority's root the chain leads nowhere: that is wrong.
func TestDoctorFindsFaults(t *testing.T) {
	d := servertest.Start(t)
	path := config(t, d.Env)
	code, stdout, _ := runIt("doctor", "-config", path, "-public", d.Addr, "-private", d.Addr)

	for _, want := range []string{
		"public " + d.Base + ": poor",
		"FAIL  tls.chain",
		"hint: have the server send its intermediates",
		"grade: poor",
	} {
		if code != 1 || !strings.Contains(stdout, want) {
			t.Errorf("exit %d, no %q in\n%s", code, want, stdout)
		}
	}
}

func TestDoctorUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":    {[]string{"-h"}, 0, "usage: destination doctor"},
		"nothing": {nil, 2, "neither a configuration nor a URL"},
		"both":    {[]string{"-config", "x", "https://fhir.test/fhir"}, 2, "both a configuration and a URL"},
		"address": {[]string{"-public", "x:1", "https://fhir.test/fhir"}, 2, "are for -config"},
		"option":  {[]string{"-x"}, 2, "-x"},
		"file":    {[]string{"-config", "none.yaml"}, 2, "no such file"},
		"ca":      {[]string{"-ca", "none.pem", "https://fhir.test/fhir"}, 2, "none.pem"},
		"no URL":  {[]string{"fhir.test"}, 1, "FAIL  tls.reach"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runIt(append([]string{"doctor"}, c.args...)...)
			if code != c.code || !strings.Contains(stdout+stderr, c.want) {
				t.Errorf("exit %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}
