package server_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// A lab that cannot be is complained about before a start, with what to do.
func TestCheckOfTheLab(t *testing.T) {
	w := servertest.NewEnv(t)
	servertest.Lab(w)
	w.WriteTLS("fhir.test")
	w.WriteIdentity("leaf", w.Client(w.A, "https://client.test/a"))
	good := *w.Config.Lab
	good.Issuers = append([]lab.IssuerSettings(nil), good.Issuers...)

	for _, row := range []struct {
		name string
		bad  func(*server.Config)
		want string // start of the one complaint; empty: none
	}{
		{"none", func(*server.Config) {}, ""},
		{"no issuers", func(c *server.Config) { c.Lab.Issuers = nil }, "lab.issuers: there are none"},
		{"unknown community", func(c *server.Config) { c.Lab.Issuers[0].Community = "urn:none" },
			`lab.issuers[0].community: "urn:none" is none`},
		{"twice", func(c *server.Config) { c.Lab.Issuers[1] = c.Lab.Issuers[0] },
			"lab.issuers[1].community: " + servertest.URIA + " has an issuer already"},
		{"no key", func(c *server.Config) { c.Lab.Issuers[0].Key = "" },
			"lab.issuers[0]: chain or key is not given"},
		{"no file", func(c *server.Config) { c.Lab.Issuers[0].Chain = "none.pem" }, "lab.issuers[0]: "},
		{"another community", func(c *server.Config) {
			c.Lab.Issuers[0].Chain, c.Lab.Issuers[0].Key = "lab-b.pem", "lab-b.key"
		}, "lab.issuers[0].chain: lab-b.pem"},
		{"no authority", func(c *server.Config) {
			c.Lab.Issuers[0].Chain, c.Lab.Issuers[0].Key = "leaf.pem", "leaf.key"
		}, "lab.issuers[0].chain: leaf.pem"},
		{"open", func(c *server.Config) { c.Lab.Open = "all" }, `lab.open: "all" is not known`},
		{"sessions", func(c *server.Config) { c.Lab.Sessions = -1 }, "lab.sessions: -1 is negative"},
		{"keep", func(c *server.Config) { c.Lab.Keep = -time.Hour }, "lab.keep: -1h0m0s is negative"},
		{"faulty", func(c *server.Config) { c.Lab.Faulty = "9446" }, `lab.faulty: "9446" is not an address`},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := w.Config
			settings := good
			settings.Issuers = append([]lab.IssuerSettings(nil), good.Issuers...)
			cfg.Lab = &settings
			row.bad(&cfg)

			var texts, remedies []string
			for _, err := range joined(cfg.Check(time.Now())) {
				texts = append(texts, err.Error())
				if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
					remedies = append(remedies, h.Hint())
				}
			}

			if row.want == "" {
				if len(texts) > 0 {
					t.Errorf("complaints %q", texts)
				}
				return
			}
			if len(texts) != 1 || !strings.HasPrefix(texts[0], row.want) || len(remedies) != 1 {
				t.Errorf("complaints %q with remedies %q, want one that starts with %q", texts, remedies, row.want)
			}
		})
	}
}

// joined returns the errors in err.
func joined(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	return nil
}

// A backup has nothing of the lab, and a destination that is restored has no sessions.
func TestBackupsLeaveTheLabOut(t *testing.T) {
	d := servertest.Start(t, servertest.OnFiles("the files of a backup"), servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	d.Stop()

	to := filepath.Join(d.Dir, "backup")
	if _, err := d.Config.Backup(t.Context(), to, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(to, "*lab*"))
	if err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}

	cfg := d.Config
	cfg.Data = "restored"
	if _, err := cfg.Restore(t.Context(), to, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	d.Env.Config = cfg
	again := d.Env.Start(d.Listen())
	if res, _ := again.Get("/acme/lab/" + s.Session.ID + "/fhir/metadata"); res.StatusCode != 404 {
		t.Errorf("the session: %s", res.Status)
	}
}
