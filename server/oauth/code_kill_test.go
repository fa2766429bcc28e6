package oauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// agreeing is the person of the second process, who agrees to everything.
type agreeing struct {
	nobody
	svc *oauth.Service
}

// Authorize implements oauth.Interaction.
func (a *agreeing) Authorize(w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest) {
	location, err := a.svc.Approve(r.Context(), req, oauth.Approval{
		Person: oauth.Person{Subject: "person-1"},
		Scope:  req.Scope,
	})
	if err != nil {
		a.Refuse(w, r, oauth.RefusalOf(err), req.Trace)
		return
	}
	oauth.SeeOther(w, location)
}

// flow is one person's flow, as far as the victim has acknowledged it.
type flow struct {
	client *udaptest.Client
	id     trace.ClientID

	code     string   // got
	redeemed bool     // the code was sent to the token endpoint
	access   string   // got last
	refresh  string   // got last
	replaced []string // refresh tokens that were used, and whose successors were used
}

// token sends a form with an assertion of its own.
func (f *flow) token(t *testing.T, v *victim, params ...string) (status int, answer map[string]any, err error) {
	form := url.Values{
		"udap":                  {"1"},
		"client_assertion":      {f.client.Sign(t, udaptest.Assertion(f.id, udaptest.Now))},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	set(form, params)
	return v.post("/oauth/token", "application/x-www-form-urlencoded", form.Encode())
}

// redeem sends the code. It reports whether the victim answered with tokens.
func (f *flow) redeem(t *testing.T, v *victim) (ok bool, err error) {
	f.redeemed = true
	status, answer, err := f.token(t, v, "grant_type", "authorization_code", "code", f.code,
		"redirect_uri", redirectURI, "code_verifier", verifier)
	return f.got(t, status, answer), err
}

// renew sends a refresh token. It reports whether the victim answered with tokens.
func (f *flow) renew(t *testing.T, v *victim, token string) (ok bool, err error) {
	status, answer, err := f.token(t, v, "grant_type", "refresh_token", "refresh_token", token)
	return f.got(t, status, answer), err
}

// got remembers the tokens of an answer.
func (f *flow) got(t *testing.T, status int, answer map[string]any) bool {
	switch {
	case status == 200:
		f.access, _ = answer["access_token"].(string)
		f.refresh, _ = answer["refresh_token"].(string)
		return true
	case status != 0 && answer["error"] != "invalid_grant":
		t.Errorf("answered %d %v", status, answer)
	}
	return false
}

// run goes through the flow until the victim is dead.
func (f *flow) run(t *testing.T, v *victim, acknowledged func()) error {
	query := url.Values{
		"response_type":         {"code"},
		"client_id":             {string(f.id)},
		"redirect_uri":          {redirectURI},
		"state":                 {"s"},
		"scope":                 {"offline_access patient/Patient.rs"},
		"code_challenge":        {challengeOf(verifier)},
		"code_challenge_method": {"S256"},
	}

	browser := http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := browser.Get(v.url + "/oauth/authorize?" + query.Encode())
	if err != nil {
		return err
	}

	res.Body.Close()

	location, err := res.Location()
	if err != nil {
		t.Errorf("authorize: %d, %v", res.StatusCode, err)
		return err
	}

	f.code = location.Query().Get("code")
	acknowledged()

	if ok, err := f.redeem(t, v); err != nil {
		return err
	} else if !ok {
		t.Error("a fresh code does not work")
	}

	acknowledged()

	for range 3 {
		used := f.refresh
		if ok, err := f.renew(t, v, used); err != nil {
			return err
		} else if !ok {
			t.Error("a fresh refresh token does not work")
		}

		f.replaced = append(f.replaced, used)
		acknowledged()
	}

	return nil
}

// verify asserts that nothing acknowledged is lost, and that nothing works twice. It
// ends the grant.
func (f *flow) verify(t *testing.T, v *victim) {
	t.Helper()
	again := func(ok bool, err error) bool {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}

	switch {
	case f.code == "":
		return

	case f.refresh == "": // the code was got, and perhaps sent without an answer
		ok := again(f.redeem(t, v))
		if !ok && !f.redeemed {
			t.Error("a code that was handed out is lost")
		}
		if again(f.redeem(t, v)) {
			t.Error("a code works twice")
		}

	default: // the last answer may be one before the last use
		if !f.works(t, v) {
			t.Error("an access token that was handed out is lost")
		}
		for range 2 { // the second use is of the successor
			if !again(f.renew(t, v, f.refresh)) {
				t.Error("a refresh token that was handed out is lost")
			}
		}

		secondUse := func() bool { return again(f.redeem(t, v)) }
		if n := len(f.replaced); n > 1 {
			secondUse = func() bool { return again(f.renew(t, v, f.replaced[0])) }
		}
		if secondUse() {
			t.Error("a code or a refresh token works twice")
		}
		if f.works(t, v) || again(f.renew(t, v, f.refresh)) {
			t.Error("the family lives after the second use")
		}
	}
}

func (f *flow) works(t *testing.T, v *victim) bool {
	t.Helper()
	r := provenRequest{
		method:        "GET",
		path:          "/data",
		authorization: "Bearer " + f.access,
	}
	status, _, err := r.send(v)
	if err != nil {
		t.Fatal(err)
	}

	return status == 200
}

// A server that is killed at any point between code, token and refresh loses nothing
// that it acknowledged, and lets no code and no refresh token work twice.
func TestKillBetweenCodeTokenAndRefresh(t *testing.T) {
	const workers, rounds = 6, 4
	dir := t.TempDir()
	e := &env{t: t, w: udaptest.New(t, "p256")}
	if err := os.WriteFile(filepath.Join(dir, "root.der"), e.w.A.Root.Cert.Raw, 0o600); err != nil {
		t.Fatal(err)
	}

	var flows []*flow
	for round := range rounds {
		v := startVictim(t, dir)
		for _, f := range flows {
			f.verify(t, v)
		}

		flows = flowsUntilKilled(t, e, v, round, workers)
	}

	v := startVictim(t, dir)
	defer v.kill()
	for _, f := range flows {
		f.verify(t, v)
	}
}

// flowsUntilKilled has some workers go through one flow after the other, and kills
// the victim in the midst of it.
func flowsUntilKilled(t *testing.T, e *env, v *victim, round, workers int) (flows []*flow) {
	t.Helper()
	var mu sync.Mutex // guards flows
	steps := make(chan bool, 1000)
	var wg sync.WaitGroup

	for worker := range workers {
		c := e.w.Client(t, e.w.A.Int, fmt.Sprintf("https://client1.test/%d/%d", round, worker), nil)
		claims := c.Interactive(udaptest.Now).With("scope", "offline_access patient/Patient.rs").
			With("grant_types", []string{"authorization_code", "refresh_token"}).
			With("redirect_uris", []string{redirectURI})
		body := fmt.Sprintf(`{"software_statement":%q,"udap":"1"}`, c.Sign(t, claims))
		status, answer, err := v.post("/oauth/register", "application/json", body)
		if err != nil || status != 201 {
			t.Fatalf("registration: %d %v %v", status, answer, err)
		}

		wg.Go(func() {
			for {
				f := &flow{
					client: c,
					id:     trace.ClientID(answer["client_id"].(string)),
				}
				mu.Lock()
				flows = append(flows, f)
				mu.Unlock()

				step := func() {
					select {
					case steps <- true:
					default:
					}
				}
				if f.run(t, v, step) != nil {
					return
				}
			}
		})
	}

	enough := time.After(time.Minute)
	for range 40 + 7*round {
		select {
		case <-steps:
		case <-enough:
			t.Fatal("the second process is too slow")
		}
	}

	v.kill()
	wg.Wait()
	return flows
}
