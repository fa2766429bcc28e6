package server_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/servertest"
)

// A destination moves from files to a database and back. Its clients go on with their
// registrations, resources have their versions and links, and nothing that was used
// before works again.
//
// Covers: case 329
func TestMovedDestination(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("it begins with files"), func(w *servertest.Env) {
		w.Config.Writable = true
		skew := time.Second
		for i := range w.Config.Communities {
			w.Config.Communities[i].Policy.Skew = &skew
		}
	})
	id := d.Client(d.A, "https://client1.test/app")
	s := d.Session(d.A, id, "system/*.cruds")
	link := twoVersions(t, d, s.Token.Access)
	used := assertion(t, d, id, s.Registered.ClientID, "used-before")
	if got := ask(t, d, used); got.Token == "" {
		t.Fatalf("no token: %+v", got)
	}
	files := d.Config.Data

	for turn, data := range []string{postgrestest.Empty(t), files} {
		backup := filepath.Join(d.Dir, fmt.Sprint("backup", turn))
		running := turn > 0 // a database is copied while it is used
		if !running {
			d.Stop()
		}
		if _, err := d.Config.Backup(t.Context(), backup, time.Now(), nil); err != nil {
			t.Fatal(err)
		}
		if running {
			d.Stop()
		}

		d.Config.Data = data
		d.Config.Postgres.Name = []string{"east", ""}[turn]
		if _, err := d.Config.Restore(t.Context(), backup, time.Now(), nil); err != nil {
			t.Fatal(err)
		}
		d = d.Env.Start(d.Listen())

		if got := ask(t, d, used); got.Error != "invalid_client" {
			t.Errorf("turn %d: an assertion that was used before: %+v", turn, got)
		}
		if res, _ := d.Get(link, "Authorization", "Bearer "+s.Token.Access); res.StatusCode != 401 {
			t.Errorf("turn %d: a token of before: %d", turn, res.StatusCode)
		}

		var token string
		fresh := 0
		d.Eventually("its client goes on after the skew has passed", func() bool {
			fresh++
			jti := fmt.Sprint("fresh ", turn, fresh)
			token = ask(t, d, assertion(t, d, id, s.Registered.ClientID, jti)).Token
			return token != ""
		})
		res, body := d.Get(link, "Authorization", "Bearer "+token)
		if res.StatusCode != 200 || !strings.Contains(body, "First") {
			t.Errorf("turn %d: the link to the first version: %d %s", turn, res.StatusCode, body)
		}
	}
}

// twoVersions creates a Patient and updates it, and returns the link to the first
// version.
func twoVersions(t *testing.T, d *servertest.Destination, token string) (link string) {
	t.Helper()
	header := []string{"Authorization", "Bearer " + token, "Content-Type", "application/fhir+json"}
	for version, family := range []string{"First", "Second"} {
		body := fmt.Sprintf(`{"resourceType":"Patient","id":"moved","name":[{"family":%q}]}`, family)
		res := d.Do("PUT", "/acme/fhir/Patient/moved", strings.NewReader(body), header...)
		if res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK {
			t.Fatalf("version %d: %d", version+1, res.StatusCode)
		}
	}
	return "/acme/fhir/Patient/moved/_history/1"
}

// The keys of ID tokens come back where they are lost, and those that are there stay.
//
// Covers: case 329
func TestKeysAreRestored(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("the file of the keys"))
	d.Stop()
	path := d.Config.IDTokenKeysFile()
	const want = "the keys of ID tokens"
	if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(d.Dir, "backup")
	if _, err := d.Config.Backup(t.Context(), backup, time.Now(), nil); err != nil {
		t.Fatal(err)
	}

	for name, before := range map[string]string{
		"lost":   "",
		"others": "others",
	} {
		err := os.Remove(path)
		if before != "" {
			err = os.WriteFile(path, []byte(before), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Config.Restore(t.Context(), backup, time.Now(), nil); err != nil {
			t.Fatal(err)
		}

		got, err := os.ReadFile(path)
		if wanted := before; err != nil || wanted == "" && string(got) != want ||
			wanted != "" && string(got) != wanted {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, st.Mode(), err)
		}
	}
}

// A restore leaves a record in the audit record, which takes effect with what is restored.
func TestRestoreIsRecorded(t *testing.T) {
	for name, where := range map[string]func(*servertest.Env){
		"files":    servertest.OnFiles("a restore of files"),
		"database": servertest.Database,
	} {
		t.Run(name, func(t *testing.T) {
			d := servertest.Start(t, where)
			d.Stop()
			backup := filepath.Join(d.Dir, "backup")
			if _, err := d.Config.Backup(t.Context(), backup, time.Now(), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Config.Restore(t.Context(), backup, time.Now(), nil); err != nil {
				t.Fatal(err)
			}
			if r, err := server.VerifyAudit(t.Context(), d.Config, "", ""); err != nil || !r.Intact {
				t.Errorf("%+v, %v", r, err)
			}

			stores := d.Stores()
			defer stores.Close()
			var last *trail.Record
			err := stores.Resources.View(t.Context(), func(sn fhir.Snapshot) error {
				return sn.Audit().Links(t.Context(), 0, func(l trail.Link) bool {
					last = l.Record
					return true
				})
			})
			if err != nil || last == nil || last.Event == nil || last.Event.Type.Code != "110107" ||
				last.Event.Entities[0].Name != "backup" {
				t.Errorf("the last record: %+v, %v", last, err)
			}
		})
	}
}
