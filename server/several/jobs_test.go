package several_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest"
)

// An export is begun at one destination, and asked for and downloaded at both, also
// when the one that has made it is gone.
//
// Covers: ER-18
func TestExportOverTwoDestinations(t *testing.T) {
	a := servertest.Start(t, servertest.Database)
	b := a.Beside()
	s := a.Session(a.A, a.Client(a.A, "https://client.test/app"), "system/Patient.rs")
	token := "Bearer " + s.Token.Access

	res, text := a.Get("/acme/fhir/Patient/$export", "Authorization", token, "Prefer", "respond-async")
	at := res.Header.Get("Content-Location")
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("%s %s", res.Status, text)
	}

	for turn := 0; ; turn++ {
		res, text = []*servertest.Destination{b, a}[turn%2].Get(at, "Authorization", token)
		if res.StatusCode != http.StatusAccepted {
			break
		}
		time.Sleep(20 * time.Millisecond) // the test's time is its bound
	}
	var manifest struct {
		Output []struct {
			URL   string `json:"url"`
			Count int    `json:"count"`
		} `json:"output"`
	}
	if err := json.Unmarshal([]byte(text), &manifest); err != nil || res.StatusCode != http.StatusOK ||
		len(manifest.Output) == 0 {
		t.Fatalf("%s: %v %s", res.Status, err, text)
	}

	file := manifest.Output[0]
	_, first := a.Get(file.URL, "Authorization", token)
	a.Stop()
	res, second := b.Get(file.URL, "Authorization", token)
	if res.StatusCode != http.StatusOK || first != second || strings.Count(second, "\n") != file.Count {
		t.Errorf("%s: %d bytes, and %d at the other", res.Status, len(first), len(second))
	}
	if res, _ := b.Get(file.URL); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", res.Status)
	}
	if res := b.Do("DELETE", at, nil, "Authorization", token); res.StatusCode != http.StatusAccepted {
		t.Errorf("removed: %s", res.Status)
	}
}

// Destinations that start together on an empty database have one key of ID tokens, and
// have it after a restart.
func TestOneKeyOfIDTokens(t *testing.T) {
	a := servertest.Start(t, servertest.Database, func(w *servertest.Env) {
		w.Config.Users = "users.json"
		err := users.Write(filepath.Join(w.Dir, w.Config.Users), []users.User{{
			Username: "alice",
			Subject:  "s-1",
			Identities: []users.Identity{{
				Issuer:  "https://idp.test",
				Subject: "1",
			}},
		}})
		if err != nil {
			t.Fatal(err)
		}
	})
	keys := func(d *servertest.Destination) string {
		t.Helper()
		res := d.Do("GET", d.Issuer+"/jwks", nil)
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(text), `"kid"`) {
			t.Fatalf("%s %v %s", res.Status, err, text)
		}
		return string(text)
	}

	b := a.Beside()
	first := keys(a)
	if got := keys(b); got != first {
		t.Errorf("keys %s, and %s at the other", first, got)
	}
	b.Stop()
	if got := keys(a.Beside()); got != first {
		t.Errorf("keys %s, and %s after a restart", first, got)
	}
}
