package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// assertion is the form of a token request with an authentication token made
// now, so that it can be sent twice.
func assertion(t *testing.T, d *servertest.Destination, id *certs.Identity, client trace.ClientID, jti string) string {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": client, "sub": client, "aud": d.Issuer + "/token", "iat": now.Unix(), "exp": now.Add(
			4 * time.Minute).Unix(), "jti": jti,
		"extensions": map[string]any{"hl7-b2b": map[string]any{
			"version": "1", "organization_name": "HTEST", "organization_id": "https://clinic.test/organization/1",
			"purpose_of_use": []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}

	compact, err := udap.Sign(id.Key, id.Chain, "", claims)
	if err != nil {
		t.Fatal(err)
	}

	return url.Values{
		"grant_type": {"client_credentials"}, "client_assertion": {compact}, "udap": {"1"}, "scope": {"system/Patient.rs"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}.Encode()
}

// ask sends a token request and returns the answer's members.
func ask(t *testing.T, d *servertest.Destination, form string) (answer struct {
	Token string `json:"access_token"`
	Error string `json:"error"`
	Text  string `json:"error_description"`
}) {
	t.Helper()
	res := d.Do("POST", "/acme/oauth/token", strings.NewReader(form), "Content-Type",
		"application/x-www-form-urlencoded")
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// An assertion that was used after the backup, and the token it was used for,
// stay used up when the backup is restored; its client goes on with its
// registration as soon as the clock skew has passed.
//
// Covers: case 329
func TestRestoredDestination(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("no backup of files beside a running server"), func(w *servertest.Env) {
		skew := time.Second
		for i := range w.Config.Communities {
			w.Config.Communities[i].Policy.Skew = &skew
		}
	})
	id := d.Client(d.A, "https://client1.test/app")
	s := d.Session(d.A, id, "system/Patient.rs")

	backup := filepath.Join(d.Dir, "backup")
	if _, err := d.Config.Backup(t.Context(), backup, time.Now(), nil); err == nil ||
		!strings.Contains(err.Error(), "another process has this file open") {
		t.Errorf("a backup beside a running server: %v", err)
	}
	d.Stop()
	if _, err := d.Config.Backup(t.Context(), backup, time.Now(), nil); err != nil {
		t.Fatal(err)
	}

	d = d.Env.Start(d.Listen())
	used := assertion(t, d, id, s.Registered.ClientID, "used-after-the-backup")
	before := ask(t, d, used)
	if before.Token == "" {
		t.Fatalf("no token: %+v", before)
	}
	if _, err := d.Config.Restore(t.Context(), backup, time.Now(), nil); err == nil ||
		!strings.Contains(err.Error(), "another process has this file open") {
		t.Errorf("a restore beside a running server: %v", err)
	}

	d.Stop()
	if _, err := d.Config.Restore(t.Context(), backup, time.Now(), nil); err != nil {
		t.Fatal(err)
	}

	d = d.Env.Start(d.Listen())
	for _, token := range []string{before.Token, s.Token.Access} {
		if res, _ := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+token); res.StatusCode != 401 {
			t.Errorf("a token of before the restore: %d", res.StatusCode)
		}
	}

	if got := ask(t, d, used); got.Error != "invalid_client" || !strings.Contains(got.Text, "restored from a backup") {
		t.Errorf("an assertion used after the backup: %+v", got)
	}
	time.Sleep(2100 * time.Millisecond) // the skew, and the second that iat is cut to
	fresh := 0
	d.Eventually("its client goes on after the skew has passed", func() bool {
		fresh++
		return ask(t, d, assertion(t, d, id, s.Registered.ClientID, fmt.Sprint("fresh ", fresh))).Token != ""
	})

	if got := ask(t, d, used); got.Error != "invalid_client" {
		t.Errorf("an assertion used after the backup, later: %+v", got)
	}
}

// A restore that is interrupted when the files are in their places has its record
// nevertheless. One of a database is not done then.
func TestInterruptedRestoreIsRecorded(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("a restore of files does not end with its context"))
	d.Stop()
	backup := filepath.Join(d.Dir, "backup")
	if _, err := d.Config.Backup(t.Context(), backup, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	before, err := server.VerifyAudit(t.Context(), d.Config, "", "")
	if err != nil {
		t.Fatal(err)
	}

	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := d.Config.Restore(interrupted, backup, time.Now(), nil); err != nil {
		t.Error(err)
	}
	after, err := server.VerifyAudit(t.Context(), d.Config, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if !after.Intact || after.Records != before.Records+1 {
		t.Errorf("%d audit records, and %d before the restore: %v", after.Records, before.Records, after.Findings)
	}
}
