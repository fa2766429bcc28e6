package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth/idtoken"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/udaptest"
)

// withPeople gives a destination somebody who can sign in.
func withPeople(t *testing.T) func(*servertest.Env) {
	return func(w *servertest.Env) {
		w.Config.Users = "users.json"
		err := users.Write(filepath.Join(w.Dir, w.Config.Users), []users.User{
			{
				Username: "alice",
				Subject:  "s-1",
				Identities: []users.Identity{
					{
						Issuer:  "https://idp.test",
						Subject: "1",
					},
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// keyIDs returns the identifiers of the published keys without certificates: those of
// ID tokens.
func keyIDs(d *servertest.Destination) (ids []string) {
	_, body := d.Get(d.Issuer + "/jwks")
	for _, key := range strings.Split(body, `{"kty"`) {
		if _, rest, ok := strings.Cut(key, `"kid":"`); ok && !strings.Contains(key, `"x5c"`) {
			id, _, _ := strings.Cut(rest, `"`)
			ids = append(ids, id)
		}
	}
	return ids
}

// The destination makes a key for ID tokens at its first start with people, keeps it
// to itself, and uses it again after a restart. Without people there is none.
func TestIDTokenKeyIsMadeOnce(t *testing.T) {
	d := servertest.Start(t, withPeople(t), servertest.OnFiles("the file of the keys"))
	path := d.Config.IDTokenKeysFile()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%s: %v, %v", path, info, err)
	}

	before := keyIDs(d)
	d.Stop()
	again := d.Env.Start(d.Listen())
	if after := keyIDs(again); len(before) != 1 || len(after) != 1 || before[0] != after[0] {
		t.Errorf("keys %v, and %v after a restart", before, after)
	}

	without := servertest.Start(t)
	without.Reload <- struct{}{}
	without.Reload <- struct{}{} // received when the first has been done
	if _, err := os.Stat(without.Config.IDTokenKeysFile()); err == nil || len(keyIDs(without)) != 0 {
		t.Error("a key without people")
	}
}

// A key that is old gets a successor at the next start, which is published before it
// signs. The destination's own file is refused, too, when others may read it.
func TestIDTokenKeyIsReplaced(t *testing.T) {
	w := servertest.NewEnv(t)
	withPeople(t)(w)
	servertest.OnFiles("the file of the keys")(w)
	if err := os.MkdirAll(filepath.Join(w.Dir, w.Config.Data), 0o700); err != nil {
		t.Fatal(err)
	}
	old, err := idtoken.ParseKeys(udaptest.KeyPEM(t, "rsa2048", 1))
	if err != nil {
		t.Fatal(err)
	}
	old[0].Created = time.Now().Add(-idtoken.KeyLife)
	text, err := old.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.Config.IDTokenKeysFile(), text, 0o600); err != nil {
		t.Fatal(err)
	}

	d := w.Start(w.Listen())
	if ids := keyIDs(d); len(ids) != 2 || ids[1] != old[0].ID {
		t.Errorf("keys %v, want a new one before %s", ids, old[0].ID)
	}
	if err := os.Chmod(d.Config.IDTokenKeysFile(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.Config.CheckFiles(time.Now()); err == nil || !strings.Contains(err.Error(), "idTokenKeys") {
		t.Errorf("a file that others may read: %v", err)
	}
}

// A file that the operator names is used as it is, and taken again when it changes.
// One that others may read, or that is none, is refused.
func TestIDTokenKeysOfTheOperator(t *testing.T) {
	write := func(w *servertest.Env, mode os.FileMode, text []byte) {
		t.Helper()
		path := filepath.Join(w.Dir, "id.pem")
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	first, second := udaptest.KeyPEM(t, "rsa2048", 1), udaptest.KeyPEM(t, "rsa2048", 2)
	d := servertest.Start(t, withPeople(t), func(w *servertest.Env) {
		w.Config.IDTokenKeys = "id.pem"
		write(w, 0o600, first)
	})
	before := keyIDs(d)
	write(d.Env, 0o600, append(second, first...))
	d.Eventually("both keys are published", func() bool { return len(keyIDs(d)) == 2 })
	if after := keyIDs(d); len(before) != 1 || after[1] != before[0] {
		t.Errorf("keys %v, then %v", before, after)
	}

	write(d.Env, 0o600, []byte("no key"))
	d.Reload <- struct{}{}
	d.Eventually("the log has the refusal", func() bool {
		return strings.Contains(d.Log.String(), "the file of the keys of ID tokens was not replaced")
	})
	if after := keyIDs(d); len(after) != 2 {
		t.Errorf("keys %v after a file that is none", after)
	}

	for name, row := range map[string]struct {
		mode os.FileMode
		text []byte
		want string
	}{
		"readable by others": {0o644, first, "id.pem"},
		"no key":             {0o600, []byte("no key"), "no PEM block with a private key"},
	} {
		write(d.Env, row.mode, row.text)
		if err := d.Config.CheckFiles(d.Deps().Now()); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
