package version

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// TestAsked: the version is asked for by one argument alone, so that no option of
// a program can be mistaken for it.
func TestAsked(t *testing.T) {
	for _, c := range []struct {
		args []string
		want bool
	}{
		{nil, false},
		{[]string{"-version"}, true},
		{[]string{"--version"}, true},
		{[]string{"-v"}, false},
		{[]string{"-config", "-version"}, false},
		{[]string{"-version", "-check"}, false},
	} {
		if got := Asked(c.args); got != c.want {
			t.Errorf("%q: %v", c.args, got)
		}
	}
}

// TestPrint: what the linker set comes first, and the line names Go's version and
// the platform.
func TestPrint(t *testing.T) {
	number, commit = "v1.2.3", "0123abcd"
	t.Cleanup(func() { number, commit = "", "" })
	var out strings.Builder
	Print(&out, "gateway")

	want := "gateway v1.2.3, commit 0123abcd, " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestRecorded: without a linker's values, what the go command recorded counts.
func TestRecorded(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}
	if got := recorded(info); got != "" {
		t.Errorf("devel: %q", got)
	}
	info.Main.Version = "v1.0.1"
	if got := recorded(info); got != "v1.0.1" {
		t.Errorf("a version: %q", got)
	}

	settings := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123abcd"},
		{Key: "vcs.modified", Value: "true"},
	}
	if got := revision(settings); got != "0123abcd with changes" {
		t.Errorf("a changed checkout: %q", got)
	}
	if got := revision(settings[:1]); got != "0123abcd" {
		t.Errorf("a checkout: %q", got)
	}
	if got := revision(settings[1:]); got != "" {
		t.Errorf("no commit: %q", got)
	}
}
