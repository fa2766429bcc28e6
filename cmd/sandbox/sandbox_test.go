package main

import (
	"context"
	"crypto/x509"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/udap/client"
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

func TestDemonstration(t *testing.T) {
	// Covers: ER-01, ER-02, ER-06, ER-07, ER-08, ER-09, ER-10, ER-11, ER-12, ER-13, ER-19,
	// ER-21, ER-23, S2-08, case 121
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
	if code != 2 || strings.Count(stderr, "nothing listens at") != 4 {
		t.Errorf("-use of actors that have gone: exit %d\n%s", code, stderr)
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

func TestInterruptBeforeReadyIsNotSuccess(t *testing.T) {
	temp := ownTemp(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	code, _, _ := call(t, ctx, append([]string{"-patients", "3"}, anywhere...)...)
	if code == 0 {
		t.Error("exit 0 although nothing was shown")
	}
	nothingLeft(t, temp)
}

// stageFor starts the actors of a world; edit may change its configurations
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

// killDestination kills the destination's process and starts it again.
func killDestination(t *testing.T, st *testbed.Bed, d *demo) {
	t.Helper()
	process := listenerProcess(d.manifest.Addresses["private"])
	pid, err := strconv.Atoi(filepath.Base(process))
	if err != nil || pid == os.Getpid() {
		t.Fatalf("the destination's process: %q", process)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	if err := <-st.Supervisor.Ended; !strings.Contains(err.Error(), "destination ended by itself") {
		t.Errorf("%v", err)
	}
	if err := st.Supervisor.Start(t.Context(), "destination"); err != nil {
		t.Fatal(err)
	}
}

func TestKilledDestinationKeepsItsWord(t *testing.T) {
	// Covers: case 092
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	c := d.community(0)
	p, err := d.newParty(c, "killed", certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	j, err := d.join(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}

	cfg := d.clientConfig(c, p, "public", "")
	cfg.NewJTI = func() string { return "once-" + d.run }
	once, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.askToken(t.Context(), once, j.found, j.reg.ClientID, "system/Patient.rs"); err != nil {
		t.Fatal(err)
	}

	killDestination(t, st, d)

	if _, err := d.askToken(t.Context(), once, j.found, j.reg.ClientID,
		"system/Patient.rs"); code(err) != "invalid_client" {
		t.Errorf("an assertion spent before the kill: %v", err)
	}
	fresh, err := d.newClient(c, p, "public", "")
	if err != nil {
		t.Fatal(err)
	}

	if _, err := d.askToken(t.Context(), fresh, j.found, j.reg.ClientID, "system/Patient.rs"); err != nil {
		t.Errorf("the registration did not survive: %v", err)
	}
}

// mutation is a change under which exactly its claim must fail.
type mutation struct {
	claim string
	why   string
	want  string // part of the reason
	make  func(t *testing.T, d *demo)
}

// mutations change what the demonstration is given; those of the actors'
// configurations are below.
var mutations = []mutation{
	{"discovery", "the anchor known is another community's", "chain.path", func(t *testing.T, d *demo) {
		d.verifier.Communities[0].Anchors = d.verifier.Communities[1].Anchors
	}},
	{"registered", "the certificate is of an issuer that no community has", "unapproved_software_statement", func(t *testing.T, d *demo) {
		d.manifest.Communities[0].Issuer = testbed.KeyPair{Cert: "tls/ca.pem", Key: "tls/ca.key"}
		d.main, d.discovery = nil, nil
		if _, err := showDiscovery(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}},
	{"token", "the client_id is nobody's", "invalid_client", func(t *testing.T, d *demo) {
		reg := *d.registered
		reg.ClientID = "nobody"
		d.registered = &reg
	}},
	{"data", "it does not come through the intermediaries", "evidence of gateway.jsonl", func(t *testing.T, d *demo) {
		c, err := d.newClient(d.community(0), d.main, "private", "")
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := d.askToken(t.Context(), c, d.discovery, d.registered.ClientID,
			"system/Patient.rs system/Observation.read")
		if err != nil {
			t.Fatal(err)
		}

		d.main.client, d.token = c, fresh
		if _, err := d.search(t.Context(), c, "Observation?_count=1&_id=unlike-"+d.run); err != nil {
			t.Fatal(err)
		}
	}},
	{"straight", "the private address is the gateway's", "unrecognized name", func(t *testing.T, d *demo) {
		d.manifest.Addresses["private"] = d.manifest.Addresses["public"]
	}},
	{"replaced", "it is not replaced", "the same key as before", func(t *testing.T, d *demo) {
		d.replaceGateway = func(context.Context) (string, error) { return "", nil }
	}},
	{"either", "the other gateway changes a byte", "by the public listener the patient has other bytes", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, true)
		var err error
		if d.main.client, err = d.newClient(d.community(0), d.main, "public", ""); err != nil {
			t.Fatal(err)
		}
	}},
	{"either", "the other gateway keeps the body and changes the head", "the destination sent it 0 times", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, false)
		var err error
		if d.main.client, err = d.newClient(d.community(0), d.main, "public", ""); err != nil {
			t.Fatal(err)
		}
	}},
	{"names", "the delegate has the destination's certificate", "no certificate for delegate.localhost", func(t *testing.T, d *demo) {
		d.manifest.Addresses["delegate"] = d.manifest.Addresses["private"]
	}},
	{"names", "a hop behind it has the public name's certificate", "is good for localhost too", func(t *testing.T, d *demo) {
		d.manifest.Gateways = []string{d.manifest.Gateways[0], d.manifest.Gateways[0]}
		d.manifest.Addresses["delegate"] = d.manifest.Addresses["public"]
	}},
	{"copied", "what was copied is not all of the token", "401", func(t *testing.T, d *demo) {
		spoiled := *d.token
		spoiled.Access = spoiled.Access[1:]
		d.token = &spoiled
	}},
	{"minted", "the gateway holds the client's key", "the destination gave a token", func(t *testing.T, d *demo) {
		leak(t, d, d.main.identity)
		editGateway(t, d, ownPair, "  - cert: leaked.pem\n    key: leaked.key\n")
	}},
	{"at once", "the gateway keeps answers and gives them again", "still works", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = otherGateway(t, d, false)
	}},
	{"minted", "the gateway holds the client's key beside its own", "the destination gave a token", func(t *testing.T, d *demo) {
		leak(t, d, d.main.identity)
		editGateway(t, d, ownPair, ownPair+"  - cert: leaked.pem\n    key: leaked.key\n")
	}},
	{"revoked", "the list refuses everyone", "not revoked is refused, too", func(t *testing.T, d *demo) {
		d.manifest.Addresses["public"] = gatewayWith(t, d, func(inner http.RoundTripper) http.RoundTripper {
			return &refuser{inner: inner}
		})
	}},
	{"change", "the change is signed for another client URI", "made another registration", func(t *testing.T, d *demo) {
		p, err := d.newParty(d.community(0), "stranger", certs.P256)
		if err != nil {
			t.Fatal(err)
		}
		d.main = p
	}},
	{"gateway", "the program is the destination", "links fhirdest.example/", func(t *testing.T, d *demo) {
		d.gatewayPrograms = append(slices.Clone(d.gatewayPrograms),
			filepath.Join(filepath.Dir(d.gatewayPrograms[0]), "destination"))
	}},
	{"gateway", "it serves with the key of a community's issuer", " of " + testbed.CommunityA, func(t *testing.T, d *demo) {
		leakKey(t, d, d.manifest.Communities[0].Issuer.Key)
	}},
	{"gateway", "it serves with the key of a client", "the key of ", func(t *testing.T, d *demo) {
		leakKey(t, d, d.manifest.Clients[0].Key)
	}},
	{"gateway", "it has a client's key beside its own certificate", "holds the key of ", func(t *testing.T, d *demo) {
		editGateway(t, d, "tls/gateway.key", d.manifest.Clients[0].Key)
	}},
	{"gateway", "its configuration names an anchor", "holds a certificate of " + testbed.CommunityA, func(t *testing.T, d *demo) {
		text := mustRead(t, d.file("delegate.yaml"))
		if err := os.WriteFile(d.file("extra.yaml"),
			[]byte(strings.Replace(text, "ca: tls/ca.pem", "ca: a-root.pem", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		d.manifest.Configs["delegate"] = "extra.yaml"
	}},
}

// ownPair is what the gateway's configuration says of its certificate.
const ownPair = "  - cert: tls/gateway.pem\n    key: tls/gateway.key\n"

// leak writes a certificate and its key beside the gateway's configuration.
func leak(t *testing.T, d *demo, id *certs.Identity) {
	t.Helper()
	if err := certs.WriteIdentity(d.file("leaked.pem"), d.file("leaked.key"), id); err != nil {
		t.Fatal(err)
	}
}

// editGateway has the demonstration look at another configuration than the gateway's.
func editGateway(t *testing.T, d *demo, from, to string) {
	t.Helper()
	text := mustRead(t, d.file("gateway.yaml"))
	edited := strings.Replace(text, from, to, 1)
	if edited == text {
		t.Fatalf("gateway.yaml has no %q", from)
	}
	if err := os.WriteFile(d.file("leaked.yaml"), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	d.manifest.Configs["gateway"] = "leaked.yaml"
}

// leakKey has the gateway's own name certified by nobody of a community, for a key of
// one.
func leakKey(t *testing.T, d *demo, keyFile string) {
	t.Helper()
	key, err := certs.LoadKey(d.file(keyFile))
	if err != nil {
		t.Fatal(err)
	}
	root, err := certs.NewRoot(certs.Template{
		CommonName: "localhost",
		DNS:        []string{"localhost"},
		NotBefore:  d.now(),
		NotAfter:   d.now().Add(time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}

	leak(t, d, &certs.Identity{Chain: []*x509.Certificate{root.Cert}, Key: key})
	editGateway(t, d, ownPair, "  - cert: leaked.pem\n    key: leaked.key\n")
}

// TestEachClaimFailsUnderItsMutation shows that no claim holds by itself: the
// claims before it hold, and it alone is spoiled.
func TestEachClaimFailsUnderItsMutation(t *testing.T) {
	ownTemp(t)
	_, d := bedFor(t, testbed.Config{Separate: true}, nil)
	for _, m := range mutations {
		t.Run(m.claim+": "+m.why, func(t *testing.T) {
			spoiled, at := freshCopy(t, d), index(t, m.claim)
			for _, c := range claims[:min(at, 4)] { // what it builds upon
				if r := spoiled.showOne(t.Context(), c); r.outcome != held {
					t.Fatalf("%s before it: %s, %s", c.name, r.outcome, r.detail)
				}
			}

			m.make(t, spoiled)
			spoiled.settleTime = 3 * time.Second // what never comes is not waited for as long
			r := spoiled.showOne(t.Context(), claims[at])
			if r.outcome != failed || !strings.Contains(r.detail, m.want) {
				t.Errorf("%s (%s), expected FAILED with %q", r.outcome, r.detail, m.want)
			}
		})
	}
}

func index(t *testing.T, name string) int {
	t.Helper()
	i := slices.IndexFunc(claims, func(c claim) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no claim %q", name)
	}
	return i
}

// freshCopy is another demonstration against the same actors, with files of its
// own that a mutation may change.
func freshCopy(t *testing.T, d *demo) *demo {
	t.Helper()
	m := *d.manifest
	m.Communities = slices.Clone(m.Communities)
	m.Addresses, m.Configs = maps.Clone(m.Addresses), maps.Clone(m.Configs)
	out, err := newDemo(d.dir, &m, time.Now)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = out.close() })
	out.replaceGateway, out.revokeTime = d.replaceGateway, d.revokeTime
	out.gatewayPrograms, out.gatewayReason = d.gatewayPrograms, d.gatewayReason
	return out
}

// TestClaimsFailWhenTheActorsAreWrong runs the whole demonstration against a
// destination that does not look at revocation and takes two communities for
// one, and a relay that changes a byte: exactly these three claims fail.
func TestClaimsFailWhenTheActorsAreWrong(t *testing.T) {
	ownTemp(t)
	_, d := bedFor(t, testbed.Config{Tamper: true}, func(w *testbed.Env) {
		file := filepath.Join(w.Dir, "destination.yaml")
		text := mustRead(t, file)
		for _, r := range [][2]string{
			{
				"    anchors: ['a-root.pem']\n",
				"    anchors: ['a-root.pem', 'b-root.pem']\n    policy:\n      revocation: 'off'\n",
			},
			{"    anchors: ['b-root.pem']\n", "    anchors: ['b-root.pem']\n    sharedAnchors: true\n"},
		} {
			if !strings.Contains(text, r[0]) {
				t.Fatalf("%s has no %q", file, r[0])
			}
			text = strings.Replace(text, r[0], r[1], 1)
		}

		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})

	var out strings.Builder
	results := d.showAll(t.Context(), claims, &out)
	expect(t, out.String(), map[string]string{
		"communities": "FAILED",
		"revoked":     "FAILED",
		"identical":   "FAILED",
	})

	if verdict(results) == nil {
		t.Error("the verdict is good")
	}

	for name, want := range map[string]string{
		"communities": "reached our registration", "revoked": "still worked 3s later", "identical": "differs at delegate",
	} {
		if r := results[index(t, name)]; !strings.Contains(r.detail, want) {
			t.Errorf("%s: %q, want %q", name, r.detail, want)
		}
	}
}

// An actor that cannot start says why, inside this program and as one of its own; what it
// refuses in its configuration is exit code 2.
func TestActorThatCannotStartSaysWhy(t *testing.T) {
	// Covers: case 326
	for name, separate := range map[string]bool{"inside": false, "a program": true} {
		t.Run(name, func(t *testing.T) {
			ownTemp(t)
			o := testbed.Config{Host: "localhost", Patients: 3, Separate: separate}
			w := newEnv(t, o, nil)
			bed, err := testbed.New(t.Context(), o, w, func(string, ...any) {}, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(w.Dir, "a-root.pem")); err != nil {
				t.Fatal(err)
			}

			err = bed.Supervisor.StartAll(t.Context())
			if err == nil || !strings.Contains(err.Error(), "destination did not start") ||
				!strings.Contains(err.Error(), "a-root.pem") || !complained(err) {
				t.Errorf("%v", err)
			}
			if err := bed.Close(); err != nil && !strings.Contains(err.Error(), "a-root.pem") {
				t.Error(err)
			}
		})
	}
}

func TestProgramsAreFoundOrBuilt(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	found, err := supervise.Find(t.Context(), t.TempDir(), testbed.Programs...)
	if err != nil || found["gateway"] != filepath.Join(filepath.Dir(self), "gateway") {
		t.Errorf("the programs beside this one are not used: %v %v", found, err)
	}

	t.Chdir(t.TempDir()) // outside of the module
	if _, err = supervise.Build(t.Context(), t.TempDir(), testbed.Programs...); err == nil {
		t.Fatal("built outside of the module")
	}
}

// outside is a trust community that the sandbox did not make, with its lists on
// a server of its own.
type outside struct {
	entry testbed.Community
	dir   string
}

func newOutside(t *testing.T) outside {
	t.Helper()
	o := outside{dir: t.TempDir()}
	lists := httptest.NewServer(http.FileServer(http.Dir(o.dir)))
	t.Cleanup(lists.Close)
	now := time.Now()
	a, err := authority.Create(filepath.Join(o.dir, "theirs"), authority.About{
		URI:  "urn:example:theirs",
		Name: "Theirs",
		Base: lists.URL,
	}, certs.RSA2048, now)
	if err != nil {
		t.Fatal(err)
	}

	o.entry = testbed.Community{
		URI:    a.URI,
		Name:   a.Name,
		Anchor: a.File("-root.pem"),
		Issuer: testbed.KeyPair{Cert: a.File(".pem"), Key: a.File(".key")},
		CRL:    a.URL(".crl"),
	}

	return o
}

// identity writes a PKCS#12 file with a certificate of this community for a
// server's base URL, and its password.
func (o outside) identity(t *testing.T, base string) (p12, password string) {
	t.Helper()
	d := &demo{now: time.Now}
	id, err := d.mint(o.entry, base, certs.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	data, err := id.PKCS12("secret", true)
	if err != nil {
		t.Fatal(err)
	}

	p12, password = filepath.Join(o.dir, "ours.p12"), filepath.Join(o.dir, "password")
	for file, content := range map[string][]byte{p12: data, password: []byte("secret\n")} {
		if err := certs.WriteFile(file, content, certs.ModeSecret); err != nil {
			t.Fatal(err)
		}
	}

	return p12, password
}

func TestForeignOriginatorIsServed(t *testing.T) {
	// Covers: row 49 of the diagnostics
	ownTemp(t)
	public := heldAddress(t)
	theirs := newOutside(t)
	p12, password := theirs.identity(t, "https://localhost:"+public[strings.LastIndexByte(public, ':')+1:]+"/acme/fhir")
	_, d := bedAt(t, testbed.Config{
		Trust:            []testbed.Foreign{{URI: theirs.entry.URI, Anchor: theirs.entry.Anchor}},
		Identities:       []string{p12},
		IdentityPassword: password,
	}, map[string]string{"public": public}, nil)
	d.manifest.Communities = append(d.manifest.Communities, theirs.entry)

	if err := d.loadTrust(); err != nil {
		t.Fatal(err)
	}
	p, err := d.partyFor(theirs.entry, "https://foreign.example/app", certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	j, err := d.join(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := d.askToken(t.Context(), p.client, j.found, j.reg.ClientID, "system/Patient.rs"); err != nil {
		t.Error(err)
	}
}
