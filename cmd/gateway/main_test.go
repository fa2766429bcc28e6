package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway/evidence"
	"fhirdest.example/gateway/wire"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	line := func(name string, sum byte) string {
		path := filepath.Join(dir, name+".jsonl")
		l, err := evidence.Open(path, name, evidence.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		d := wire.Digest{Bytes: 1, Sum: [32]byte{sum}}
		l.Record(&wire.Message{Time: time.Now(), Method: "GET", In: d, Out: d})
		l.Close()

		return path
	}
	o, g, d := line("originator", 1), line("gateway", 1), line("destination", 2)

	bad := filepath.Join(dir, "bad.yaml")
	os.WriteFile(bad, []byte("listn: x\nroutes: 5\n"), 0o600)
	for _, c := range []struct {
		args      string
		code      int
		out, errs string
	}{
		{"-h", 0, "usage: gateway", ""},
		{"compare -h", 0, "usage: gateway", ""},
		{"", 2, "", "hint: write gateway -config FILE; gateway -example"},
		{"-example", 0, "\nroutes:\n", ""},
		{"-bogus", 2, "", "hint:"},
		{"serve -config " + dir + "/none.yaml", 2, "", "none.yaml"},
		{"-check -config " + bad, 2, "", `unknown key "listn"`},
		{"compare " + o, 2, "", "two evidence files"},
		{"compare " + o + " " + dir + "/none", 2, "", "no such file"},
		{"compare " + o + " " + g, 0, "1 identical", ""},
		{"compare " + o + " " + g + " " + d, 1, "differs at destination", ""},
		{"compare -json " + o + " " + g + " " + d, 1, `"verdict":"differs"`, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(context.Background(), strings.Fields(c.args), &out, &errs)
			if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.errs) {
				t.Errorf("gateway %s: exit %d\n%s%s", c.args, code, &out, &errs)
			}
		})
	}
}
