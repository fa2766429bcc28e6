package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/goccy/go-yaml"

	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

// config writes an environment's configuration as YAML and returns its path.
func config(t *testing.T, w *servertest.Env) string {
	t.Helper()
	data, err := yaml.Marshal(w.Config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.Dir, "destination.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newEnv makes an environment whose destination may listen anywhere.
func newEnv(t *testing.T) *servertest.Env {
	t.Helper()
	w := servertest.NewEnv(t)
	l := w.Listen()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.Config.Listen = "127.0.0.1:0"
	return w
}

func runIt(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(context.Background(), args, &out, &err)
	return code, out.String(), err.String()
}

// Covers: case 326
func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string // in either stream
	}{
		{nil, 2, "error: no configuration is named\nhint: "},
		{[]string{"-h"}, 0, "usage: destination"},
		{[]string{"-cnofig", "x"}, 2, "error: flag provided but not defined: -cnofig\nhint: "},
		{
			[]string{"-config", "none.yaml"},
			2,
			"error: cannot read configuration none.yaml: no such file or directory\nhint: ",
		},
		{[]string{"-config", "x.yaml", "more"}, 2, "error: unexpected argument \"more\"\nhint: "},
	} {
		code, stdout, stderr := runIt(c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%v: %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
}

// Complaints about the form of the file, its values and the files that it names
// come at once, and -check does not start or make anything.
//
// Covers: case 326
func TestAllComplaintsAtOnce(t *testing.T) {
	w := newEnv(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	w.Config.Admin.Listen = taken.Addr().String()
	w.Config.Public = "https://other.test/acme/fhir"
	w.Config.Communities[0].Anchors = []string{"a.pem"}
	w.Config.Communities[1].Anchors = []string{"missing.pem"}
	path := config(t, w)
	if f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	} else {
		fmt.Fprint(f, "listne: x\n")
		f.Close()
	}

	for _, args := range [][]string{{"-config", path, "-check"}, {"-config", path}} {
		code, _, stderr := runIt(args...)
		if code != 2 {
			t.Errorf("exit %d", code)
		}

		for _, want := range []string{
			`unknown key "listne"`, "is taken", "does not name the public base URL https://other.test/acme/fhir; the URIs of its SAN: https://fhir.test/acme/fhir",
			"is not a CA", "there is no file",
		} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v lack %q:\n%s", args, want, stderr)
			}
		}

		if strings.Count(stderr, "error: ") != strings.Count(stderr, "\nhint: ") {
			t.Errorf("an error without a hint:\n%s", stderr)
		}
	}

	if _, err := os.Stat(filepath.Join(w.Dir, "data")); !os.IsNotExist(err) {
		t.Errorf("checking made the data directory: %v", err)
	}
}

// Covers: case 323, case 326, case 330
func TestStartCheckAndSecondProcess(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0)) // modes must not depend on it
	w := newEnv(t)
	w.Config.Evidence = "destination.jsonl"
	path := config(t, w)
	if code, stdout, stderr := runIt("-config", path, "-check"); code != 0 || stdout != "ok\n" {
		t.Fatalf("-check: %d %s%s", code, stdout, stderr)
	}
	ctx, stop := context.WithCancel(context.Background())

	ready, ended := make(chan string, 1), make(chan int, 1)
	var stderr bytes.Buffer
	go func() { ended <- run(ctx, []string{"-config", path}, notify(ready), &stderr) }()

	select {
	case line := <-ready:
		if !strings.HasPrefix(line, "ready: public base https://fhir.test/acme/fhir, listening on 127.0.0.1:") {
			t.Errorf("said %q", line)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("never ready")
	}

	second := *w
	second.Config.Listen, second.Config.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	path = config(t, &second)
	code, _, said := runIt("-config", path)
	if code != 2 || !strings.Contains(said, "trust.bolt") ||
		!strings.Contains(said, "another process has this file open") ||
		!strings.Contains(said, "hint: stop the other destination") {
		t.Errorf("second process: %d %s", code, said)
	}

	for name, mode := range map[string]os.FileMode{
		"data":              0o700,
		"data/trust.bolt":   0o600,
		"data/fhir.bolt":    0o600,
		"destination.jsonl": 0o600,
	} {
		t.Run(name, func(t *testing.T) {
			if st, err := os.Stat(filepath.Join(w.Dir, name)); err != nil || st.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v; want mode %04o", name, st, err, mode)
			}
		})
	}

	stop()
	if code := <-ended; code != 0 {
		t.Errorf("ended with %d: %s", code, stderr.String())
	}
}

// What a running destination has open is its own: -check passes beside it, so that
// a configuration can be checked before a reload. Another program's port is
// complained about.
func TestCheckBesideTheRunningDestination(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Evidence = "destination.jsonl" })
	d.Config.Listen, d.Config.Admin.Listen = d.Addr, strings.TrimPrefix(d.Admin, "http://")
	path := config(t, d.Env)
	if code, stdout, stderr := runIt("-config", path, "-check"); code != 0 || stdout != "ok\n" {
		t.Errorf("-check: %d %s%s", code, stdout, stderr)
	}

	d.Config.Communities[0].Anchors = []string{"missing.pem"}
	path = config(t, d.Env)
	if code, _, stderr := runIt("-config", path, "-check"); code != 2 || strings.Count(stderr, "error: ") != 1 ||
		!strings.Contains(stderr, "missing.pem") {
		t.Errorf("-check of a new fault: %d %s", code, stderr)
	}

	d.Config.Communities[0].Anchors, d.Config.Data = []string{"a-anchor.pem"}, "other"
	path = config(t, d.Env)
	if code, _, stderr := runIt("-config", path, "-check"); code != 2 || strings.Count(stderr, "is taken") != 2 {
		t.Errorf("-check of a second destination with these ports: %d %s", code, stderr)
	}
}

// -check finds the directories that a start would miss, and makes none.
func TestCheckFindsMissingDirectories(t *testing.T) {
	for _, c := range []struct {
		name, data, evidence, want string // want is in the one complaint; empty: none
	}{
		{"data is made with its parents", "a/b/data", "", ""},
		{"evidence in no directory", "data", "nowhere/destination.jsonl", "evidence: "},
		{"evidence is a directory", "data", ".", "evidence: "},
		{"data below a file", "a.pem/data", "", "data: "},
		{"data is a file", "a.pem", "", "is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEnv(t)
			w.Config.Data, w.Config.Evidence = c.data, c.evidence
			path := config(t, w)
			code, stdout, stderr := runIt("-config", path, "-check")
			if c.want == "" {
				if code != 0 || stdout != "ok\n" {
					t.Errorf("%d %s%s", code, stdout, stderr)
				}
				return
			}

			if code != 2 || strings.Count(stderr, "error: ") != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("%d, want one complaint with %q: %s", code, c.want, stderr)
			}
			if code, _, stderr := runIt("-config", path); code != 2 {
				t.Errorf("a start did not fail: %d %s", code, stderr)
			}
		})
	}
}

// With log: json each line of the log is a JSON object.
func TestJSONLog(t *testing.T) {
	w := newEnv(t)
	w.Config.Log = "json"
	path := config(t, w)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	var stderr servertest.Buffer
	ready, ended := make(chan string, 1), make(chan int, 1)
	go func() { ended <- run(ctx, []string{"-config", path, "-v"}, notify(ready), &stderr) }()

	select {
	case <-ready:
	case code := <-ended:
		t.Fatalf("ended with %d: %s", code, stderr.String())
	}

	w.Eventually("a CRL is fetched, and that is logged", func() bool {
		return strings.Contains(stderr.String(), `"msg":"a CRL was fetched"`)
	})
	stop()
	<-ended

	for _, line := range strings.Split(strings.TrimSpace(stderr.String()), "\n") {
		var entry struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry, json.MatchCaseInsensitiveNames(true)); err != nil ||
			entry.Time == "" || entry.Level == "" || entry.Msg == "" {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// notify is a writer that hands on its first line.
type notify chan string

func (n notify) Write(p []byte) (int, error) {
	n <- string(p)
	return len(p), nil
}

// The example is understood to the last key, and complains of nothing but the
// files that are not there.
//
// Covers: case 326
func TestExample(t *testing.T) {
	code, stdout, _ := runIt("-example")
	if code != 0 || stdout != example {
		t.Fatalf("-example: %d", code)
	}
	path := filepath.Join(t.TempDir(), "destination.yaml")
	anyPort := regexp.MustCompile(`(127\.0\.0\.1):\d+`) // the example's own may be taken on this machine

	for text, files := range map[string]int{example: 4, uncommented(example): 12} {
		if err := os.WriteFile(path, []byte(anyPort.ReplaceAllString(text, "$1:0")), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, stderr := runIt("-config", path, "-check")
		if got := strings.Count(stderr, "there is no file"); got != files || got != strings.Count(stderr, "error: ") {
			t.Errorf("%d complaints about files, want %d and no others:\n%s", got, files, stderr)
		}
	}
}

// uncommented turns every setting in a comment on.
func uncommented(text string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		body := strings.TrimLeft(line, " ")
		if rest, ok := strings.CutPrefix(body, "# "); ok && strings.Contains(rest, ": ") &&
			!strings.HasPrefix(rest, "destination.yaml") {
			line = line[:len(line)-len(body)] + rest
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// Neither the command line nor the configuration has a place for a secret:
// both name files that hold one, so nothing shows in a list of processes, in
// the environment or in a copy of the YAML file.
//
// Covers: case 325
func TestSecretsStandInFilesOnly(t *testing.T) {
	var walk func(at string, typ reflect.Type)
	walk = func(at string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(at, typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				name, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
				lower := strings.ToLower(name)
				for _, word := range []string{"password", "secret", "passphrase", "pin"} {
					if strings.Contains(lower, word) && !strings.HasSuffix(lower, "file") {
						t.Errorf("%s.%s takes a secret", at, name)
					}
				}

				walk(at+"."+name, typ.Field(i).Type)
			}
		}
	}
	walk("", reflect.TypeFor[server.Config]())

	for _, word := range []string{"password", "secret", "passphrase", "environ"} {
		if strings.Contains(strings.ToLower(usage), word) {
			t.Errorf("the usage speaks of a %s", word)
		}
	}
}

// -check warns of a lab that shows the destination's own answers to everybody, and of
// what its certificates are elsewhere, with remedies; none of it keeps it from starting.
func TestCheckWarnsOfTheLab(t *testing.T) {
	w := newEnv(t)
	servertest.Lab(w)
	const shown, members = "reads what the destination's own base answers", "accept the certificates that the lab issues"
	for _, row := range []struct {
		open  string
		plain bool
		warns bool
	}{
		{"public", true, true},
		{"public", false, false},
		{"console", true, false},
		{"", true, false},
	} {
		w.Config.Lab.Open, w.Config.Lab.Plain = row.open, row.plain
		code, stdout, stderr := runIt("-config", config(t, w), "-check")
		if code != 0 || stdout != "ok\n" || strings.Contains(stderr, shown) != row.warns {
			t.Errorf("%+v: %d %s%s", row, code, stdout, stderr)
		}
		if n := strings.Count(stderr, members); n != len(w.Config.Lab.Issuers) {
			t.Errorf("%+v: %d warnings of certificates: %s", row, n, stderr)
		}
	}

	w.Config.Lab = nil
	if _, _, stderr := runIt("-config", config(t, w), "-check"); stderr != "" {
		t.Errorf("without a lab: %s", stderr)
	}
}
