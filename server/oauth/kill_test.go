package oauth_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/bolt"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const killEnv = "OAUTH_TEST_KILL_DIR"

// serveUntilKilled is the second process: an authorization server on the trust
// file of a directory, with the anchor that the first process put there.
func serveUntilKilled(dir string) error {
	der, err := os.ReadFile(filepath.Join(dir, "root.der"))
	if err != nil {
		return err
	}

	root, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}

	trust, err := bolt.OpenTrust(filepath.Join(dir, "trust.bolt"), bolt.Options{})
	if err != nil {
		return err
	}

	scopes, err := scopeCatalogue("system/Patient.rs")
	if err != nil {
		return err
	}

	personal, err := scopeCatalogue("offline_access", "patient/Patient.rs")
	if err != nil {
		return err
	}

	community := &udap.Community{
		URI:     udaptest.CommunityA,
		Anchors: []*x509.Certificate{root},
		Policy:  udap.Policy{Revocation: udap.RevocationOff},
	}

	person := &agreeing{}
	svc, err := oauth.New(oauth.Config{
		Base:        udaptest.Base,
		Issuer:      issuer,
		Verifier:    &udap.Verifier{Communities: []*udap.Community{community}},
		Store:       trust,
		Scopes:      scopes,
		Personal:    personal,
		Interaction: person,
		Now:         func() time.Time { return udaptest.Now },
	})
	if err != nil {
		return err
	}

	person.svc = svc

	mux := http.NewServeMux()
	svc.Routes(func(u string, h http.Handler) { mux.Handle(strings.TrimPrefix(u, "https://fhir.test"), h) })
	mux.Handle("/data", dataHandler(svc))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}

	fmt.Println("http://" + l.Addr().String())
	return http.Serve(l, mux)
}

// victim is a second process that can be killed.
type victim struct {
	cmd *exec.Cmd
	url string
}

func startVictim(t *testing.T, dir string) *victim {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}

	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}

	return &victim{cmd, strings.TrimSpace(line)}
}

// kill ends it as a power cut would: SIGKILL, and no deferred call runs.
func (v *victim) kill() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
}

func (v *victim) post(path, contentType, body string) (status int, answer map[string]any, err error) {
	res, err := http.Post(v.url+path, contentType, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	return res.StatusCode, answer, err
}

// acknowledged is what the victim answered with success before it died.
type acknowledged struct {
	sync.Mutex
	statements map[string]trace.ClientID // body of the request, identifier in the answer
	assertions []string                  // form of the request
	uris       map[trace.ClientID]string
}

// Covers: case 092, case 150
func TestKill(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		fmt.Fprintln(os.Stderr, serveUntilKilled(dir)) // returns only when it cannot serve
		os.Exit(1)
	}
	dir := t.TempDir()
	e := &env{t: t, w: udaptest.New(t, "p256")}
	if err := os.WriteFile(filepath.Join(dir, "root.der"), e.w.A.Root.Cert.Raw, 0o600); err != nil {
		t.Fatal(err)
	}

	known := &acknowledged{statements: map[string]trace.ClientID{}, uris: map[trace.ClientID]string{}}
	for round := range 4 {
		v := startVictim(t, dir)
		known.verify(t, e, v)
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() { known.hammer(t, e, v, fmt.Sprintf("https://client1.test/%d/%d", round, worker)) })
		}
		known.await(t, 8*(round+1))
		v.kill()

		wg.Wait()
	}

	v := startVictim(t, dir)
	defer v.kill()
	known.verify(t, e, v)
	t.Logf("%d registrations and %d tokens acknowledged over 4 kills", len(known.statements), len(known.assertions))
}

// await waits until so many registrations and tokens in all were acknowledged, so that a
// slow machine, too, is in the midst of it.
func (k *acknowledged) await(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		k.Lock()
		enough := len(k.statements) >= n && len(k.assertions) >= n
		k.Unlock()
		if enough {
			return
		}
	}
	t.Errorf("fewer than %d registrations or tokens are acknowledged", n)
}

// hammer registers and asks for tokens until the victim is dead.
func (k *acknowledged) hammer(t *testing.T, e *env, v *victim, uri string) {
	for n := 0; ; n++ {
		c := e.w.Client(t, e.w.A.Int, fmt.Sprint(uri, "/", n), nil)
		body := statementBody(t, c)
		status, answer, err := v.post("/oauth/register", jsonType, body)
		if err != nil {
			return
		}
		if status != 201 {
			t.Errorf("registration: %d %v", status, answer)
			return
		}

		id := trace.ClientID(answer["client_id"].(string))
		k.Lock()
		k.statements[body], k.uris[id] = id, c.URI
		k.Unlock()
		form := assertionForm(c.Sign(t, udaptest.Assertion(id, udaptest.Now)))
		if status, answer, err = v.post("/oauth/token", "application/x-www-form-urlencoded", form); err != nil {
			return
		}
		if status != 200 {
			t.Errorf("token: %d %v", status, answer)
			return
		}

		k.Lock()
		k.assertions = append(k.assertions, form)
		k.Unlock()
	}
}

// verify asserts that all acknowledged registrations are there and nothing
// that was used works again.
func (k *acknowledged) verify(t *testing.T, e *env, v *victim) {
	t.Helper()
	refused := func(path, contentType, body, code string) {
		t.Helper()
		status, answer, err := v.post(path, contentType, body)
		if err != nil || status != 400 || answer["error"] != code {
			t.Errorf("%s repeated after the kill: %d %v %v", path, status, answer, err)
		}
	}

	for body := range k.statements {
		refused("/oauth/register", jsonType, body, "invalid_software_statement")
	}
	for _, form := range k.assertions {
		refused("/oauth/token", "application/x-www-form-urlencoded", form, "invalid_client")
	}

	for id, uri := range k.uris {
		c := e.w.Client(t, e.w.A.Int, uri, nil)
		status, answer, err := v.post("/oauth/token", "application/x-www-form-urlencoded",
			assertionForm(c.Sign(t, udaptest.Assertion(id, udaptest.Now))))
		if err != nil || status != 200 {
			t.Errorf("an acknowledged registration is gone: %d %v %v", status, answer, err)
		}
	}
}

func statementBody(t *testing.T, c *udaptest.Client) string {
	b, err := json.Marshal(map[string]string{"software_statement": c.Sign(t, c.Statement(udaptest.Now)), "udap": "1"})
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func assertionForm(assertion string) string {
	return url.Values{"grant_type": {"client_credentials"}, "udap": {"1"}, "scope": {"system/Patient.rs"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}.Encode()
}
