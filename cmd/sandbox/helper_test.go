package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/gateway/evidence"
)

// outcomes reads the printed lines: the outcome of each claim, by its text.
func outcomes(out string) map[string]string {
	got := map[string]string{}
	for _, c := range claims {
		m := regexp.MustCompile(`(?m)^(held|FAILED|not shown) +` + regexp.QuoteMeta(c.text)).FindStringSubmatch(out)
		if m != nil {
			got[c.name] = m[1]
		}
	}
	return got
}

// expect compares outcomes: every claim held, but for those named.
func expect(t *testing.T, out string, but map[string]string) {
	t.Helper()
	got := outcomes(out)
	for _, c := range claims {
		want := "held"
		if b, ok := but[c.name]; ok {
			want = b
		}
		if got[c.name] != want {
			t.Errorf("%s: %q, want %q", c.name, got[c.name], want)
		}
	}

	if t.Failed() {
		t.Log(out)
	}
}

// ownTemp gives a test a temporary directory in which nothing may be left.
func ownTemp(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// compareByHand does what gateway compare does with the evidence files of a
// sandbox.
func compareByHand(t *testing.T, dir string, want int) {
	t.Helper()
	var paths []string
	for _, name := range testbed.EvidenceFiles {
		paths = append(paths, filepath.Join(dir, name))
	}
	var out strings.Builder
	got, err := evidence.Report(&out, paths, false)
	if err != nil || got != want {
		t.Errorf("gateway compare: exit %d, want %d (%v)\n%s", got, want, err, out.String())
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	t.Fatalf("%s did not appear", path)
}

// bedFor starts the actors of an environment; edit may change its configurations
// before.
func bedFor(t *testing.T, o testbed.Config, edit func(w *testbed.Env)) (*testbed.Bed, *demo) {
	t.Helper()
	return bedAt(t, o, nil, edit)
}

// stageAt is stageFor with addresses for some listeners.
func bedAt(t *testing.T, o testbed.Config, address map[string]string, edit func(w *testbed.Env)) (*testbed.Bed, *demo) {
	t.Helper()
	o.Host, o.Patients = "localhost", 3
	w := newEnv(t, o, address)
	st, err := testbed.New(t.Context(), o, w, func(string, ...any) {}, time.Now)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	if edit != nil {
		edit(w)
	}
	if err := st.Supervisor.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}

	d, err := newDemo(w.Dir, w.Manifest(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.close() }) // closed already where the test has
	st.FindGateway(t.Context())
	d.replaceGateway, d.revokeTime = st.ReplaceGateway, 3*time.Second
	d.gatewayPrograms, d.gatewayReason = st.Gateways, st.GatewayReason
	return st, d
}

// newEnv makes an environment with ports of its own, but for the addresses given.
func newEnv(t *testing.T, o testbed.Config, address map[string]string) *testbed.Env {
	t.Helper()
	want := map[string]string{}
	for _, role := range testbed.Roles {
		want[role] = "127.0.0.1:0"
	}
	maps.Copy(want, address)
	ps, err := supervise.Open(want, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ps.Close)

	w := &testbed.Env{Dir: t.TempDir(), Host: "localhost", Ports: ps, Now: time.Now()}
	if err := w.Make(o); err != nil {
		t.Fatal(err)
	}
	return w
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
