package users_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fhirdest.example/server/people/users"
)

const secret = "correct horse battery staple"

func hashed(t *testing.T, password string) string {
	t.Helper()
	h, err := users.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A password is verified by its characters, and unknown users are never right.
func TestVerify(t *testing.T) {
	p := users.NewPasswords()
	user := &users.User{
		Username: "alice",
		Password: hashed(t, secret),
	}
	composed := &users.User{Password: hashed(t, "pass\u00e9word")}
	for _, row := range []struct {
		name     string
		user     *users.User
		password string
		want     bool
	}{
		{"right", user, secret, true},
		{"wrong", user, secret + " ", false},
		{"empty", user, "", false},
		{"another normal form of the same characters", composed, "passe\u0301word", true},
		{"too long", user, strings.Repeat("x", 100_000), false},
		{"not UTF-8", user, "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8", false},
		{"no such user", nil, secret, false},
		{"no such user, empty password", nil, "", false},
		{"a user without a password", &users.User{Username: "x"}, "", false},
		{"a damaged hash", &users.User{Password: "$argon2id$"}, secret, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := p.Verify(
				t.Context(),
				row.user,
				row.password,
			)
			if err != nil || got != row.want {
				t.Errorf("%t, %v; want %t", got, err, row.want)
			}
		})
	}
}

// Callers beyond the bound are turned away at once, and one that leaves waits no
// longer.
//
// Covers: case 276
func TestVerifyIsBounded(t *testing.T) {
	p := users.NewPasswords()
	const turnedAway = 1000
	var all sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[error]int{}
	ctx, cancel := context.WithCancel(t.Context())
	for range 2000 {
		all.Go(func() {
			_, err := p.Verify(ctx, nil, secret)
			mu.Lock()
			defer mu.Unlock()
			if outcomes[err]++; outcomes[users.ErrBusy] == turnedAway {
				cancel()
			}
		})
	}

	all.Wait()
	defer cancel()
	if errors.Is(ctx.Err(), context.Canceled) == (outcomes[users.ErrBusy] < turnedAway) {
		t.Errorf("outcomes %v: most of 2000 callers at once should find no room", outcomes)
	}
	if _, err := p.Verify(t.Context(), nil, secret); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// What is wrong with a file is found when it is read.
func TestParse(t *testing.T) {
	good := `{"username":"alice","subject":"s1","fhirUser":"Patient/p1","password":"` + hashed(t, secret) + `"}`
	for _, row := range []struct{ name, text, problem string }{
		{"good", `{"users":[` + good + `]}`, ""},
		{"empty", `{"users":[]}`, ""},
		{"not JSON", `users:`, "invalid character"},
		{"an unknown member", `{"users":[{"username":"a","subject":"s","admin":true}]}`, "admin"},
		{"twice", `{"users":[` + good + `,` + strings.Replace(good, "alice", "ALICE", 1) + `]}`, "two of this username"},
		{"one subject", `{"users":[` + good + `,` + strings.Replace(good, "alice", "bob", 1) + `]}`, "same subject"},
		{"a space", `{"users":[{"username":"a b","subject":"s"}]}`, "a username has"},
		{"no subject", `{"users":[{"username":"a"}]}`, "a subject has"},
		{"a reference elsewhere", `{"users":[{"username":"a","subject":"s","fhirUser":"https://x/Patient/1"}]}`, "fhirUser"},
		{"a patient's reference", `{"users":[{"username":"a","subject":"s","patients":["Patient/1"]}]}`, "not the id"},
		{"a plain password", `{"users":[{"username":"a","subject":"s","password":"secret"}]}`, "the password's hash"},
		{
			"a hash that costs too much",
			`{"users":[{"username":"a","subject":"s","password":"$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$` +
				`AAAAAAAAAAAAAAAAAAAAAA"}]}`,
			"out of bounds",
		},
		{
			"one account of two",
			`{"users":[{"username":"a","subject":"s","identities":[{"issuer":"https://i","subject":"x"}]},` +
				`{"username":"b","subject":"t","identities":[{"issuer":"https://i","subject":"x"}]}]}`,
			"same account",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := users.Parse([]byte(row.text))
			if (err == nil) != (row.problem == "") || err != nil && !strings.Contains(err.Error(), row.problem) {
				t.Errorf("%v, want %q", err, row.problem)
			}
		})
	}
}

// A file keeps what was added until it is removed, and nobody else reads it.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.json")
	for _, name := range []string{"zoe", "alice"} {
		if err := users.Add(path, users.User{
			Username: name,
			Password: hashed(t, secret),
			FHIRUser: "Practitioner/" + name,
			Patients: []string{"p1"},
		}); err != nil {
			t.Fatal(err)
		}
	}

	if err := users.Add(path, users.User{Username: "Alice"}); err == nil {
		t.Error("a username was added twice")
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}

	d, err := users.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	u := d.Named("ALICE")
	if u == nil || d.Subject(u.Subject) != u || !u.Clinician() || !u.MayShare("any") || len(u.Subject) < 20 {
		t.Errorf("%+v", u)
	}

	if err := users.Remove(path, "ALICE"); err != nil {
		t.Fatal(err)
	}
	if err := users.Remove(path, "alice"); err == nil {
		t.Error("a user was removed twice")
	}
	d, err = users.Read(path)
	if err != nil || d.Named("alice") != nil || d.Named("zoe") == nil || len(d.All()) != 1 {
		t.Errorf("%v, %v", d, err)
	}
}

// A person shares data of their own patients only.
func TestMayShare(t *testing.T) {
	u := users.User{
		Username: "parent",
		FHIRUser: "Patient/p1",
		Patients: []string{"p2", "p1"},
	}
	for id, want := range map[string]bool{
		"p1": true,
		"p2": true,
		"p3": false,
		"":   false,
	} {
		if u.MayShare(id) != want {
			t.Errorf("%q: %t", id, !want)
		}
	}
	if got := u.OwnPatients(); len(got) != 2 || got[0] != "p1" || u.DisplayName() != "parent" {
		t.Errorf("%v", got)
	}
}
