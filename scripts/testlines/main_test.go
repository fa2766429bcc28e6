package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	pass := `{"Action":"pass","Package":"p","Test":"TestA"}`
	for _, c := range []struct {
		name, in string
		exit     int
		shows    string
	}{
		{"all pass", pass + "\n" + `{"Action":"pass","Package":"p"}`, 0, "1 passed, 0 failed, 0 skipped"},
		{"a failure", pass + "\n" + `{"Action":"output","Package":"p","Test":"TestB","Output":"boom\n"}` + "\n" +
			`{"Action":"fail","Package":"p","Test":"TestB"}`, 1, "boom"},
		{"a skip", pass + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}`, 1, "SKIPPED"},
		{"a package that does not build", pass + "\n" + `{"Action":"fail","Package":"q"}`, 1, "fail   q"},
		{"a package without tests", pass + "\n" + `{"Action":"skip","Package":"q"}`, 0, "1 passed"},
		{"tests that keep to files", strings.Repeat(`{"Action":"attr","Package":"p","Test":"TestA",`+
			`"Key":"destination.files","Value":"a backup"}`+"\n", 2) + pass, 0, "go: 2 of files: a backup"},
		{"nothing ran", "", 1, "0 passed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if got := run(strings.NewReader(c.in), &out); got != c.exit {
				t.Errorf("exit %d, want %d", got, c.exit)
			}
			if !strings.Contains(out.String(), c.shows) {
				t.Errorf("output %q does not show %q", out.String(), c.shows)
			}
		})
	}
}
