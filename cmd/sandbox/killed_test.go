package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/client"
)

// killDestination kills the destination's process and starts it again.
func killDestination(t *testing.T, st *testbed.Bed, d *demo) {
	t.Helper()
	process := listenerProcess(d.manifest.Addresses["private"])
	pid, err := strconv.Atoi(filepath.Base(process))
	if err != nil || pid == os.Getpid() {
		t.Fatalf("the destination's process: %q", process)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	if err := <-st.Supervisor.Ended; !strings.Contains(err.Error(), "destination ended by itself") {
		t.Errorf("%v", err)
	}
	if err := st.Supervisor.Start(t.Context(), "destination"); err != nil {
		t.Fatal(err)
	}
}

func TestKilledDestinationKeepsItsWord(t *testing.T) {
	// Covers: case 092
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	c := d.community(0)
	p, err := d.newParty(c, "killed", certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	j, err := d.join(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}

	cfg := d.clientConfig(c, p, "public", "")
	cfg.NewJTI = func() string { return "once-" + d.run }
	once, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.askToken(t.Context(), once, j.found, j.reg.ClientID, "system/Patient.rs"); err != nil {
		t.Fatal(err)
	}

	killDestination(t, st, d)

	if _, err := d.askToken(t.Context(), once, j.found, j.reg.ClientID,
		"system/Patient.rs"); code(err) != "invalid_client" {
		t.Errorf("an assertion spent before the kill: %v", err)
	}
	fresh, err := d.newClient(c, p, "public", "")
	if err != nil {
		t.Fatal(err)
	}

	if _, err := d.askToken(t.Context(), fresh, j.found, j.reg.ClientID, "system/Patient.rs"); err != nil {
		t.Errorf("the registration did not survive: %v", err)
	}
}
