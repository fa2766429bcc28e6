package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/cmd/internal/testbed"
)

// call runs the program as main does.
func call(t *testing.T, ctx context.Context, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(ctx, args, streams{&out, &errs}, time.Now)
	return code, out.String(), errs.String()
}

// anywhere lets a sandbox pick every port.
var anywhere = []string{
	"-public", "127.0.0.1:0", "-delegate", "127.0.0.1:0", "-private", "127.0.0.1:0", "-admin",
	"127.0.0.1:0", "-crl", "127.0.0.1:0", "-idp", "127.0.0.1:0",
}

func TestUsage(t *testing.T) {
	code, out, _ := call(t, context.Background(), "-h")
	if code != 0 || !strings.Contains(out, "Examples:") || !strings.Contains(out, "Exit: 0") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

func TestBadFlagsExitTwoWithEveryComplaint(t *testing.T) {
	// Covers: case 326, case 331
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want []string
	}{
		{[]string{"-nope"}, []string{"flag provided but not defined"}},
		{[]string{"stray"}, []string{`unexpected argument "stray"`}},
		{[]string{"-public", "here", "-crl", "1.2.3.4", "-patients", "0", "-host", "No Name"},
			[]string{`-public: "here"`, `-crl: "1.2.3.4"`, "-patients: 0", `-host: "No Name"`}},
		{[]string{"-host", "no-such-name.invalid"},
			[]string{"-host: no-such-name.invalid does not resolve on this machine"}},
		{[]string{"-no-demo", "-report", filepath.Join(dir, "r.html")},
			[]string{"without the demonstration there is nothing to report"}},
		{[]string{"-use", dir, "-no-demo"}, []string{"-no-demo cannot be combined with -use"}},
		{[]string{"-admin", "0.0.0.0:0"}, []string{"can be reached from other machines"}},
		{[]string{"-dir", file}, []string{"is not a directory"}},
		{[]string{"-report", filepath.Join(dir, "none", "r.html")}, []string{"none is not a directory"}},
		{[]string{"-use", dir}, []string{"there is no sandbox.json"}},
		{
			[]string{"-use", dir, "-tamper", "-dir", dir},
			[]string{"-tamper cannot be combined with -use", "-dir cannot be combined with -use"},
		},
		{[]string{"-trust", "urn:x", "-trust", "urn:y=" + file, "-trust", testbed.CommunityA + "=" + file},
			[]string{`"urn:x=" is not URI=FILE`, "neither PEM nor DER", testbed.CommunityA + " is there already"}},
		{[]string{"-identity", filepath.Join(dir, "none.p12")}, []string{"1 given, but -trust 0", "none.p12"}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args[:min(2, len(tt.args))], " "), func(t *testing.T) {
			code, _, stderr := call(t, context.Background(), tt.args...)
			if code != 2 {
				t.Errorf("exit %d", code)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("no %q in\n%s", want, stderr)
				}
			}
			if n, h := strings.Count(stderr, "error: "), strings.Count(stderr, "hint: "); n < len(tt.want) || n != h {
				t.Errorf("%d errors and %d hints", n, h)
			}
		})
	}
}

func TestPortsTakenAreAllNamed(t *testing.T) {
	// Covers: case 326
	var taken []string
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		taken = append(taken, ln.Addr().String())
	}

	args := append(append([]string{"-once"}, anywhere...), "-public", taken[0], "-admin", taken[1])
	code, out, stderr := call(t, context.Background(), args...)
	if code != 2 || out != "" {
		t.Errorf("exit %d, claims %q", code, out)
	}

	for _, want := range []string{"-public " + taken[0], "-admin " + taken[1], "hint: another program has it"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
}

// A directory that cannot be used is a fault of usage, said in one line with
// its remedy.
func TestUnusableDirectory(t *testing.T) {
	// Covers: case 326
	for name, spoil := range map[string]func(dir string) (given string, err error){
		"below a file": func(dir string) (string, error) {
			return dir + "/f/box", os.WriteFile(dir+"/f", nil, 0o600)
		},
		"a file in its place": func(dir string) (string, error) { return dir, os.WriteFile(dir+"/tls", nil, 0o600) },
		"no lock can be made": func(dir string) (string, error) { return dir, os.Mkdir(dir+"/.lock", 0o700) },
		"damaged authority": func(dir string) (string, error) {
			return dir, os.WriteFile(dir+"/a.json", []byte("{"), 0o600)
		},
		"damaged CA of servers": func(dir string) (string, error) {
			return dir, errors.Join(os.Mkdir(dir+"/tls", 0o700), os.WriteFile(dir+"/tls/ca.pem", nil, 0o600),
				os.WriteFile(dir+"/tls/ca.key", nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			given, err := spoil(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			code, out, stderr := call(t, context.Background(), append([]string{"-once", "-dir", given}, anywhere...)...)
			if code != 2 || out != "" || strings.Count(stderr, "error: -dir: ") != 1 ||
				strings.Count(stderr, "hint: give a directory") != 1 {
				t.Errorf("%s: exit %d, claims %q, said\n%s", name, code, out, stderr)
			}
		})
	}
}

func TestOneDirectoryOneSandbox(t *testing.T) {
	// Covers: case 330
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	code, _, stderr := call(t, context.Background(), append([]string{"-once", "-dir", dir}, anywhere...)...)
	if code != 2 || !strings.Contains(stderr, "another sandbox runs in") {
		t.Errorf("exit %d: %s", code, stderr)
	}

	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := lock(dir)
	if err != nil {
		t.Fatalf("the lock outlived its holder: %v", err)
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
}
