package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"fhirdest.example/cmd/internal/testbed"
)

// Without the demonstration the actors start and answer, nothing is claimed, and the
// manifest is there for others, who find every file that it names.
func TestNoDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "box")
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()

	type end struct {
		code        int
		out, stderr string
	}
	ended := make(chan end, 1)
	go func() {
		code, out, stderr := call(t, ctx, append([]string{"-no-demo", "-separate", "-patients", "3", "-dir", dir},
			anywhere...)...)
		ended <- end{code, out, stderr}
	}()
	awaitFile(t, filepath.Join(dir, testbed.ManifestName))
	compareByHand(t, dir, 0)

	code, out, stderr := call(t, context.Background(), "-use", dir, "-once")
	if code != 0 {
		t.Errorf("-use: exit %d\n%s", code, stderr)
	}
	expect(t, out, nil)

	interrupt()
	e := <-ended
	if e.code != 0 || e.out != "" || !strings.Contains(e.stderr, "ready: https://localhost:") ||
		strings.Contains(e.stderr, "demonstrating") {
		t.Errorf("exit %d, %q\n%s", e.code, e.out, e.stderr)
	}
}

func TestNoDemoOnceStartsAndEnds(t *testing.T) {
	temp := ownTemp(t)
	code, out, stderr := call(t, context.Background(), append([]string{"-no-demo", "-once", "-patients", "3"},
		anywhere...)...)
	if code != 0 || out != "" || !strings.Contains(stderr, "starting gateway at") {
		t.Errorf("exit %d, %q\n%s", code, out, stderr)
	}
	nothingLeft(t, temp)
}
