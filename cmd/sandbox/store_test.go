package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"fhirdest.example/cmd/internal/testbed"
)

// With -store postgres two destinations share a database of the sandbox's own, the
// claims are held, each as a program of its own too, and the same directory serves again.
func TestTwoDestinationsOnADatabase(t *testing.T) {
	temp, dir := ownTemp(t), filepath.Join(t.TempDir(), "box")
	for _, more := range [][]string{{"-separate"}, nil} {
		args := append([]string{"-once", "-store", "postgres", "-patients", "3", "-dir", dir}, anywhere...)
		code, out, stderr := call(t, context.Background(), append(args, more...)...)
		if code != 0 {
			t.Fatalf("%v: exit %d\n%s", more, code, stderr)
		}
		expect(t, out, nil)
	}
	nothingLeft(t, temp)

	m, err := testbed.ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Addresses["private2"] == "" || m.Configs["destination2"] != "destination2.yaml" {
		t.Errorf("the manifest has no second destination: %v %v", m.Addresses, m.Configs)
	}
	for _, name := range []string{"destination.jsonl", "destination2.jsonl"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: no request came to this destination: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "postgres", "data", "postmaster.pid")); err == nil {
		t.Error("PostgreSQL did not end with the sandbox")
	}
}
