package oauth_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// dataHandler is a resource of the second process: it is there for whoever may ask.
func dataHandler(svc *oauth.Service) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := svc.BearerRequest(r, func(*http.Request) string { return dataURL }); err != nil {
			refusal := oauth.RefusalOf(err)
			w.WriteHeader(refusal.Status)
			_, _ = fmt.Fprintf(w, `{"error":%q}`, refusal.Of.Code) // the client is gone
			return
		}
		_, _ = w.Write([]byte("{}")) // the client is gone
	})
}

// usedProofs are the requests whose proofs were accepted before a kill.
type usedProofs struct {
	mu   sync.Mutex // guards all below
	done []provenRequest
}

// provenRequest is a request with its proof.
type provenRequest struct {
	method, path, authorization, proof string

	form func() string // the body, with an assertion of its own each time; nil: none
}

func (r provenRequest) send(v *victim) (status int, body string, err error) {
	form := ""
	if r.form != nil {
		form = r.form()
	}
	req, err := http.NewRequest(r.method, v.url+r.path, strings.NewReader(form))
	if err != nil {
		return 0, "", err
	}

	req.Header.Set("DPoP", r.proof)
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.authorization != "" {
		req.Header.Set("Authorization", r.authorization)
	}

	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()

	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// TestProofsSurviveKill kills the server while it accepts proofs, at the token
// endpoint and at a resource: none that was accepted is accepted again.
func TestProofsSurviveKill(t *testing.T) {
	dir := t.TempDir()
	e := &env{t: t, w: udaptest.New(t, "p256")}
	if err := os.WriteFile(filepath.Join(dir, "root.der"), e.w.A.Root.Cert.Raw, 0o600); err != nil {
		t.Fatal(err)
	}

	used := new(usedProofs)
	for round := range 3 {
		v := startVictim(t, dir)
		used.refusedNow(t, v)
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() { used.hammer(t, e, v, fmt.Sprintf("https://client1.test/%d/%d", round, worker)) })
		}
		used.await(t, 40*(round+1))
		v.kill()

		wg.Wait()
	}

	v := startVictim(t, dir)
	defer v.kill()
	used.refusedNow(t, v)
	t.Logf("%d proofs were accepted over 3 kills", len(used.done))
}

// hammer gets tokens and data, each with a new proof, until the victim is dead.
func (u *usedProofs) hammer(t *testing.T, e *env, v *victim, uri string) {
	c := e.w.Client(t, e.w.A.Int, uri, nil)
	status, answer, err := v.post("/oauth/register", jsonType, statementBody(t, c))
	if err != nil {
		return
	}

	id, _ := answer["client_id"].(string)
	if status != 201 || id == "" {
		t.Errorf("registration: %d %v", status, answer)
		return
	}

	proofs, err := client.NewProofs()
	if err != nil {
		t.Error(err)
		return
	}
	for u.askOnce(t, c, trace.ClientID(id), proofs, v) {
	}
}

// askOnce gets a token and data. It reports whether the victim lives.
func (u *usedProofs) askOnce(
	t *testing.T, c *udaptest.Client, id trace.ClientID, proofs *client.Proofs, v *victim,
) bool {
	request := provenRequest{
		method: "POST",
		path:   "/oauth/token",
		form: func() string {
			return assertionForm(c.Sign(t, udaptest.Assertion(id, udaptest.Now)))
		},
		proof: mustProof(t, proofs, "POST", tokenURL, ""),
	}
	status, text, err := request.send(v)
	if err != nil {
		return false
	}

	_, rest, _ := strings.Cut(text, `"access_token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	if status != 200 || token == "" {
		t.Errorf("token: %d %s", status, text)
		return false
	}

	u.add(request)
	request = provenRequest{
		method:        "GET",
		path:          "/data",
		authorization: "DPoP " + token,
		proof:         mustProof(t, proofs, "GET", dataURL, token),
	}
	if status, text, err = request.send(v); err != nil {
		return false
	}
	if status != 200 {
		t.Errorf("data: %d %s", status, text)
		return false
	}

	u.add(request)
	return true
}

func mustProof(t *testing.T, p *client.Proofs, method, url, token string) string {
	proof, err := p.Proof(method, url, token, udaptest.Now)
	if err != nil {
		t.Error(err)
	}
	return proof
}

func (u *usedProofs) add(r provenRequest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done = append(u.done, r)
}

// await waits until so many proofs in all were accepted.
func (u *usedProofs) await(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		u.mu.Lock()
		enough := len(u.done) >= n
		u.mu.Unlock()
		if enough {
			return
		}
	}
	t.Errorf("fewer than %d proofs were accepted", n)
}

// refusedNow sends each accepted proof again: with the token that it had, or with a
// new assertion.
func (u *usedProofs) refusedNow(t *testing.T, v *victim) {
	t.Helper()
	for _, r := range u.done {
		status, text, err := r.send(v)
		if err != nil || status < 400 || status >= 500 || !strings.Contains(text, string(trace.InvalidDPoPProof)) {
			t.Errorf("%s: a proof repeated after the kill: %d %s %v", r.path, status, text, err)
		}
	}
}
