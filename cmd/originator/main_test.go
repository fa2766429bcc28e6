package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"fhirdest.example/certs"
	"fhirdest.example/server/console"
	"fhirdest.example/server/servertest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"person":     person,
		"originator": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	// Covers: S2-07, S2-20, S1-066, S1-067, case 333, case 070, D-01, D-05, D-11, D-19, D-23, D-49
	d := servertest.Start(t, servertest.Lab)
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(env *testscript.Env) error { return furnish(t, d, env) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"revoke": func(ts *testscript.TestScript, _ bool, args []string) { revoke(ts, d, args) },
			"keep":   keep,
		},
	})
}

// keep sets a variable to what the last command printed.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// clients counts the scripts, each of which is a client of its own.
var clients atomic.Int64

// furnish gives a script what an originator holds, and where to go.
func furnish(t *testing.T, d *servertest.Destination, env *testscript.Env) error {
	uri := fmt.Sprintf("https://client.example/%d#app", clients.Add(1))
	in := func(name string) string { return filepath.Join(env.WorkDir, name) }
	id := d.Client(d.A, uri)
	p12, err := id.PKCS12("sesame", false)
	legacy, errLegacy := id.PKCS12("sesame", true)
	stranger, errStranger := certs.NewCommunity(certs.CommunityPlan{
		Name:      "X",
		Key:       "p256",
		NotBefore: time.Now().Add(-time.Hour),
		Life:      24 * time.Hour,
	})
	if err := errors.Join(err, errLegacy, errStranger); err != nil {
		return err
	}

	leaf, err := stranger.Issuing.Issue(certs.Template{
		URIs:      []string{uri},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(time.Hour),
	}, id.Key.Public())
	if err != nil {
		return err
	}

	env.Setenv("BASE", d.Base)
	env.Setenv("CONNECT", d.Addr)
	env.Setenv("NAME", "fhir.test") // the host of BASE
	env.Setenv("CONSOLE", d.Admin)
	env.Setenv("LISTS", d.Lists.URL)
	env.Setenv("COMMUNITY", servertest.URIA)
	env.Setenv("URI", uri)
	env.Setenv("TRUST", "-anchor="+servertest.URIA+"="+in("anchor.pem"))

	return errors.Join(
		certs.WriteIdentity(in("chain.pem"), in("key.pem"), id),
		certs.WriteIdentity(in("issuer.pem"), in("issuer.key"), &certs.Identity{
			Chain: d.A.Issuing.Chain(d.A.Issuing.Cert)[1:],
			Key:   d.A.Issuing.Key,
		}),
		certs.WriteCertificates(in("reversed.pem"), id.Chain[1], id.Chain[0]),
		certs.WriteCertificates(in("stranger.pem"), leaf, stranger.Issuing.Cert),
		certs.WriteCertificates(in("anchor.pem"), d.A.Root.Cert),
		certs.WriteCertificates(in("tls.pem"), d.TLS.Cert),
		os.WriteFile(in("client.p12"), p12, 0o600),
		os.WriteFile(in("legacy.p12"), legacy, 0o600),
		os.WriteFile(in("password"), []byte("sesame\n"), 0o600),
		os.WriteFile(in("sandbox.json"), manifestOf(d, uri), 0o600),
	)
}

func manifestOf(d *servertest.Destination, uri string) []byte {
	return fmt.Appendf(nil, `{"version":1,"publicBase":%q,"tlsCA":"tls.pem",
		"communities":[{"uri":%q,"name":"A","anchor":"anchor.pem","crl":%q}],
		"clients":[{"name":"one","uri":%q,"community":%q,"chain":"chain.pem","key":"key.pem"}]}`,
		d.Base, servertest.URIA, d.Lists.URL+"/a.crl", uri, servertest.URIA)
}

// revoke puts the leaf of a chain file on the community's list, and waits until the
// destination knows of it.
func revoke(ts *testscript.TestScript, d *servertest.Destination, args []string) {
	chain, err := certs.LoadCertificates(ts.MkAbs(args[0]))
	ts.Check(err)
	d.Publish("a", d.A.Issuing, certs.RevokedEntry{
		Serial: chain[0].SerialNumber,
		Time:   time.Now().Add(-time.Minute),
		Reason: 1,
	})

	d.Eventually("the destination has the list", func() bool {
		res, err := http.Get(d.Admin + "/ready")
		ts.Check(err)
		defer res.Body.Close()

		var state console.Readiness
		ts.Check(json.NewDecoder(res.Body).Decode(&state))
		return slices.ContainsFunc(state.Lists, func(l console.List) bool {
			return l.Place == d.Lists.URL+"/a.crl" && l.Entries == 1
		})
	})
}

func TestEveryCommandHasHelp(t *testing.T) {
	for name := range commands {
		if commandUsage[name] == "" {
			t.Errorf("%s has no help", name)
		}
	}
	if len(commandUsage) != len(commands)+1 { // lab has words of its own
		t.Errorf("%d commands, %d helps", len(commands), len(commandUsage))
	}
}
