package main

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/cmd/internal/testbed"
)

func TestDemonstration(t *testing.T) {
	// Covers: ER-01, ER-02, ER-06, ER-07, ER-08, ER-09, ER-10, ER-11, ER-12, ER-13, ER-19,
	// ER-21, ER-23, S2-08, FS-401, FS-412, case 121
	temp := ownTemp(t)
	report := filepath.Join(t.TempDir(), "report.html")
	code, out, stderr := call(t, context.Background(), append([]string{
		"-once", "-patients", "3", "-report", report,
	}, anywhere...)...)
	if code != 0 {
		t.Errorf("exit %d\n%s", code, stderr)
	}

	expect(t, out, nil)
	nothingLeft(t, temp)
	page := mustRead(t, report)

	checkPicture(t, page, 0)
	for _, want := range []string{
		`class="identical"`, `class="straight"`, "chain.revocation", "claim-revoked",
		"unapproved_software_statement",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the report has no %q", want)
		}
	}

	for _, say := range []string{"starting destination at", "demonstrating at https://localhost:", "report: "} {
		if !strings.Contains(stderr, say) {
			t.Errorf("progress has no %q:\n%s", say, stderr)
		}
	}
}

func TestSeparateProgramsThenTheSameDirectoryAgain(t *testing.T) {
	temp, dir := ownTemp(t), filepath.Join(t.TempDir(), "box")
	first := []string{"-once", "-separate", "-patients", "3", "-dir", dir}
	for _, role := range testbed.Roles { // held, so that nobody takes them between the runs
		first = append(first, "-"+role, heldAddress(t))
	}
	code, out, stderr := call(t, context.Background(), first...)
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}

	expect(t, out, nil)
	nothingLeft(t, temp)
	before, err := testbed.ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	code, out, stderr = call(t, context.Background(), append([]string{
		"-once", "-patients", "3", "-dir", dir,
	}, anywhere...)...)
	if code != 0 {
		t.Fatalf("again: exit %d\n%s", code, stderr)
	}

	expect(t, out, nil)
	compareByHand(t, dir, 0)
	after, err := testbed.ReadManifest(dir)
	if err != nil || after.PublicBase != before.PublicBase || after.Communities[0].CRL != before.Communities[0].CRL {
		t.Errorf("the same directory has other addresses: %s, was %s (%v)", after.PublicBase, before.PublicBase, err)
	}
}

func TestTamper(t *testing.T) {
	// Covers: ER-12
	temp := ownTemp(t)
	report := filepath.Join(t.TempDir(), "report.html")
	code, out, stderr := call(t, context.Background(),
		append([]string{"-once", "-tamper", "-patients", "3", "-report", report}, anywhere...)...)
	if code != 1 {
		t.Errorf("exit %d\n%s", code, stderr)
	}
	expect(t, out, map[string]string{"identical": "FAILED"})
	if !regexp.MustCompile(`differs at delegate: GET response, status 200, \d+ bytes: .* \(conn \S+, seq \d+\)`).MatchString(out) {
		t.Errorf("hop and message are not named:\n%s", out)
	}

	checkPicture(t, mustRead(t, report), 1)

	// A claim failed, so the temporary directory is kept to look at.
	kept, err := filepath.Glob(filepath.Join(temp, "*", testbed.ManifestName))
	if err != nil || len(kept) != 1 {
		t.Fatalf("%v %v", kept, err)
	}
	dir := filepath.Dir(kept[0])
	compareByHand(t, dir, 1)

	// Without it the same directory is whole again.
	if code, out, stderr = call(t, context.Background(), append([]string{
		"-once", "-patients", "3", "-dir", dir,
	}, anywhere...)...); code != 0 {
		t.Errorf("afterwards: exit %d\n%s%s", code, out, stderr)
	}
}

func TestStaysUpForOthers(t *testing.T) {
	ownTemp(t)
	dir := filepath.Join(t.TempDir(), "box")
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()

	type end struct {
		code        int
		out, stderr string
	}
	ended := make(chan end, 1)
	go func() {
		code, out, stderr := call(t, ctx, append([]string{"-separate", "-patients", "3", "-dir", dir}, anywhere...)...)
		ended <- end{code, out, stderr}
	}()

	awaitFile(t, filepath.Join(dir, testbed.ManifestName))
	code, out, stderr := call(t, context.Background(), "-use", dir, "-once")
	if code != 0 {
		t.Errorf("-use: exit %d\n%s", code, stderr)
	}
	expect(t, out, nil)
	if left, _ := filepath.Glob(filepath.Join(dir, ".stand-in*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	interrupt()
	e := <-ended
	if e.code != 0 || !strings.Contains(e.stderr, "ready: https://localhost:") {
		t.Errorf("after an interrupt: exit %d\n%s", e.code, e.stderr)
	}
	code, _, stderr = call(t, context.Background(), "-use", dir, "-once")
	if code != 2 || strings.Count(stderr, "nothing listens at") != 5 {
		t.Errorf("-use of actors that have gone: exit %d\n%s", code, stderr)
	}
}
