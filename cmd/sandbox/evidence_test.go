package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/server/servertest/chromium"
	"fhirdest.example/udap/trace"
)

// paperDemo is a demonstration of which only the evidence exists.
func paperDemo(t *testing.T) *demo {
	t.Helper()
	dir := t.TempDir()
	d := &demo{originator: originator{dir: dir, now: time.Now, manifest: &testbed.Manifest{
		PublicBase:  "https://localhost:1/acme/fhir",
		PrivateBase: "https://destination.localhost:2/acme/fhir",
		Evidence:    testbed.EvidenceFiles,
		Addresses:   map[string]string{"private": "127.0.0.1:2"},
	}, straight: map[string]bool{"originatorstraight": true}, asked: map[place]asked{}}}

	var err error
	if d.log, err = evidence.Open(filepath.Join(dir, "originator.jsonl"), "originator", evidence.Options{
		Now: time.Now,
	}); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = d.close() }) // closed already where a test closes it
	return d
}

func sum(text string) wire.Digest {
	return wire.Digest{Bytes: int64(len(text)), Sum: [32]byte([]byte(fmt.Sprintf("%-32.32s", text)))}
}

// line writes one message to a hop's file: what came in and what went out.
func (d *demo) line(t *testing.T, hop, conn string, seq uint64, response bool, in, out string) {
	t.Helper()
	m := &wire.Message{
		Time:     time.Now(),
		Conn:     conn,
		Seq:      seq,
		Response: response,
		Method:   "GET",
		In:       sum(in),
		Out:      sum(out),
	}

	if response {
		m.Status = 200
	}
	if hop == "originator" && d.wentStraight(conn) {
		m.Route = evidence.RouteStraight
	}
	if hop == "originator" {
		if err := d.log.Record(m); err != nil {
			t.Fatal(err)
		}
		return
	}

	l, err := evidence.Open(filepath.Join(d.dir, hop+".jsonl"), hop, evidence.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Record(m), l.Close()); err != nil {
		t.Fatal(err)
	}
}

var allHops = []string{"originator", "gateway", "delegate", "destination"}

// exchange is one request and its answer at the given hops.
func (d *demo) exchange(t *testing.T, seq uint64, what string, hops ...string) {
	for _, hop := range hops {
		d.line(t, hop, hop+what, seq, false, what+"?", what+"?")
		d.line(t, hop, hop+what, seq, true, what+"!", what+"!")
	}
}

func TestIdenticalOnEveryHop(t *testing.T) {
	d := paperDemo(t)
	d.exchange(t, 1, "read", allHops...)
	d.exchange(t, 2, "straight", "originator", "destination")
	d.exchange(t, 3, "somebody else's", "gateway", "delegate", "destination") // others may use the sandbox meanwhile
	detail, err := showIdentical(context.Background(), d)
	if err != nil || !strings.Contains(detail, "4 messages") ||
		!strings.Contains(detail, "2 identical on 4 hops, 2 straight") {
		t.Errorf("%q %v", detail, err)
	}
}

func TestDifferenceNamesHopAndMessage(t *testing.T) {
	d := paperDemo(t)
	d.exchange(t, 1, "read", allHops...)
	d.exchange(t, 2, "straight", "originator", "destination")
	for _, hop := range allHops {
		d.line(t, hop, hop+"-2", 1, false, "GET", "GET")
	}
	d.line(t, "destination", "destination-2", 1, true, "HTEST", "HTEST")
	for _, hop := range allHops[:3] {
		d.line(t, hop, hop+"-2", 1, true, "hTEST", "hTEST")
	}

	_, err := showIdentical(context.Background(), d)
	if err == nil || !strings.Contains(err.Error(), "differs at delegate: GET response, status 200") ||
		!strings.Contains(err.Error(), "seq 1") {
		t.Errorf("%v", err)
	}
}

// What a hop adds of its own, on a connection that it has for us, is no message of
// others; and what two hops conceal did not go straight.
func TestAddedAndConcealedMessagesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *demo)
		want  string
	}{
		"a request of the gateway's own": {func(d *demo) {
			for _, hop := range allHops[1:] {
				d.line(t, hop, hop+"read", 2, false, "copy?", "copy?")
				d.line(t, hop, hop+"read", 2, true, "copy!", "copy!")
			}
		}, "originator has no such message"},
		"a request sent twice": {func(d *demo) {
			d.line(t, "destination", "destinationagain", 1, false, "read?", "read?")
		}, "differs at"},
		"an exchange that the intermediaries conceal": {func(d *demo) {
			d.exchange(t, 1, "concealed", "originator", "destination")
		}, "differs at gateway: GET request, status 0, 10 bytes: gateway has no such message"},
		"a hop whose file is empty": {func(d *demo) {
			if err := os.Remove(filepath.Join(d.dir, "gateway.jsonl")); err != nil {
				t.Fatal(err)
			}
		}, "differs at gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			d := paperDemo(t)
			d.exchange(t, 1, "read", allHops...)
			d.exchange(t, 1, "straight", "originator", "destination")
			c.spoil(d)
			detail, err := showIdentical(context.Background(), d)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %v", detail, err)
			}
		})
	}
}

func TestMessagesOfEarlierRunsAreNotCompared(t *testing.T) {
	d := paperDemo(t)
	d.line(t, "delegate", "old", 1, false, "a", "b")
	var err error
	if d.marks, err = d.sizes(); err != nil {
		t.Fatal(err)
	}
	d.exchange(t, 1, "read", allHops...)
	d.exchange(t, 2, "straight", "originator", "destination")

	if detail, err := showIdentical(context.Background(), d); err != nil {
		t.Errorf("%q %v", detail, err)
	}
}

// The report is one page with every check of each client, which needs nothing else.
//
// Covers: D-50
func TestReportIsOneFileThatEscapes(t *testing.T) {
	d := paperDemo(t)
	d.exchange(t, 1, "read", allHops...)
	d.exchange(t, 2, "straight", "originator", "destination")
	if _, err := showIdentical(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	tr := trace.NewTrace("register", time.Now())
	tr.Warn(trace.Check{
		Name:         "own.uri",
		Title:        "A rule",
		Requirements: []string{"S1-001"},
	}, trace.Finding{Found: "<script>alert(1)</script>"})

	d.keep(tr)
	results := []result{
		{claim: claims[0], outcome: held, detail: "fine", start: time.Now().Add(-time.Minute), traces: 1},
		{claim: claims[1], outcome: failed, detail: "<b>no</b>", start: time.Now(), traces: 1},
		{claim: claims[10], outcome: notShown, detail: "why", start: time.Now(), traces: 1},
	}

	file := filepath.Join(t.TempDir(), "report.html")
	if err := d.writeReport(file, results); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	page := string(data)
	for _, want := range []string{
		"3 claims: 1 held, 1 failed, 1 not shown", "<svg", `class="straight"`, `class="identical"`,
		"own.uri", "&lt;script&gt;", "&lt;b&gt;no", `id="claim-registered"`, ">delegate<",
		"marker-end",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the report has no %q", want)
		}
	}

	for _, bad := range []string{"<script", "src=", "@import", "<link"} {
		if strings.Contains(page, bad) {
			t.Errorf("the report has %q: it must need nothing from elsewhere", bad)
		}
	}

	if n := strings.Count(page, `class="identical"`); n != 6 {
		t.Errorf("%d arrows, expected 3 for each of 2 messages", n)
	}

	chromium.Show(t, data).Inspect("sandbox-report")
}

func TestLinkedPackages(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got, err := linkedPackages(self)
	if err != nil {
		t.Fatal(err)
	}

	all := "\n" + strings.Join(got, "\n") + "\n"
	for _, want := range []string{
		"runtime",
		"fhirdest.example/udap",
		"fhirdest.example/gateway/evidence",
		"github.com/lestrrat-go/jwx/v2",
	} {
		if !strings.Contains(all, "\n"+want+"\n") {
			t.Errorf("%s is not found in this test's own binary", want)
		}
	}

	d := paperDemo(t)
	d.gatewayPrograms = []string{self}
	if _, err := showGateway(context.Background(), d); err == nil ||
		!strings.Contains(err.Error(), "links fhirdest.example/") {
		t.Errorf("a gateway that links udap passes: %v", err)
	}
	d.gatewayPrograms, d.gatewayReason = nil, "because"
	if _, err := showGateway(context.Background(), d); !errors.As(err, new(hidden)) {
		t.Errorf("without a program: %v", err)
	}

	if _, err := linkedPackages(filepath.Join(d.dir, "originator.jsonl")); err == nil {
		t.Error("a file that is no program was read")
	}
}

func TestPackageOf(t *testing.T) {
	for in, want := range map[string]string{
		"main.run": "main", "fhirdest.example/udap.(*Verifier).Statement": "fhirdest.example/udap",
		"runtime.main": "runtime", "slices.SortFunc[go.shape.[]fhirdest.example/udap.X]": "slices", "go:buildid": "", "type:.eq.a/b.C": "type:.eq.a/b",
	} {
		t.Run(in, func(t *testing.T) {
			if got := packageOf(in); got != want {
				t.Errorf("%s: %q, want %q", in, got, want)
			}
		})
	}
}
