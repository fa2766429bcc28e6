package server_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// trusted replaces the files of community A by those of another with its URI.
func trusted(t *testing.T, d *servertest.Destination, c *certs.Community) {
	t.Helper()
	d.WriteIdentity("a", d.Issue("a", c, d.Key("rsa2048"), servertest.Base))
	if err := certs.WriteCertificates(filepath.Join(d.Dir, "a-anchor.pem"), c.Root.Cert); err != nil {
		t.Fatal(err)
	}
}

// reload has all files read again and waits until they are.
func reload(d *servertest.Destination) {
	d.Reload <- struct{}{}
	d.Reload <- struct{}{} // taken when the first has been dealt with
}

// Anchors and our own certificates are read again while the destination runs:
// whom the new ones do not vouch for is out at once, whatever was remembered of
// him, and whom they do is in, under the registration of his URI.
//
// Covers: case 124, case 281
func TestTrustIsReadAgain(t *testing.T) {
	d := servertest.Start(t)
	ctx := t.Context()
	const uri, scope = "https://client1.test/app", "system/*.read"
	old := d.Session(d.A, d.Client(d.A, uri), scope)
	ask := func(o *client.Client, at *client.Discovery) trace.Code {
		got, err := o.Token(ctx, at, client.TokenRequest{
			ClientID: old.Registered.ClientID,
			Scope:    scope,
			B2B:      servertest.Treatment(),
		})
		if err == nil {
			return "granted"
		}

		return got.Refusal.Code
	}

	next := d.Community("c")
	renewed := d.Originator(next, d.Issue("client", next, d.Key("p256"), uri))

	write(t, d.Env, "a-anchor.pem", "half a file")
	reload(d)
	if got := ask(old.Client, old.Discovered); got != "granted" {
		t.Fatalf("with half a file: %s", got)
	}
	if !strings.Contains(d.Log.String(), "trust in the communities was not replaced") {
		t.Error("the log does not tell of the half file")
	}

	_, keys := d.Get("/acme/oauth/jwks")
	trusted(t, d, next)
	reload(d)
	at, err := renewed.Discover(ctx)
	if err != nil {
		t.Fatalf("the metadata is not signed anew: %v", err)
	}
	if got := ask(renewed, at); got != "granted" {
		t.Errorf("the renewed client: %s", got)
	}

	if got := ask(old.Client, old.Discovered); got != trace.InvalidClient {
		t.Errorf("the old client: %s", got)
	}
	registered, err := old.Client.Register(ctx, old.Discovered, client.Registration{
		ClientName: "HTEST",
		Contacts:   []string{"mailto:a@client.test"},
		Scope:      scope,
	})
	if err == nil || registered.Refusal.Code != trace.UnapprovedSoftwareStatement {
		t.Errorf("the old client registers: %v", err)
	}

	if _, now := d.Get("/acme/oauth/jwks"); now == keys {
		t.Error("the key set is still that of the old certificates")
	}

	trusted(t, d, d.A)
	deadline := time.Now().Add(time.Minute)
	for ask(old.Client, old.Discovered) != "granted" {
		if time.Now().After(deadline) {
			t.Fatal("changed files are not noticed without a signal")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Trust may change at any moment: every request is verified by what was trusted
// before or by what is now, and never fails.
func TestTrustIsReadAgainUnderLoad(t *testing.T) {
	d := servertest.Start(t)
	const scope = "system/*.read"
	s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), scope)
	other := d.Session(d.B, d.Client(d.B, "https://client2.test/app"), scope)
	next := d.Community("c")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	load := func(s *servertest.Session, always bool) {
		for ctx.Err() == nil {
			got, err := s.Client.Token(t.Context(), s.Discovered, client.TokenRequest{
				ClientID: s.Registered.ClientID,
				Scope:    scope,
				B2B:      servertest.Treatment(),
			})
			if err != nil && (always || got.Refusal == nil || got.Refusal.Code != trace.InvalidClient) {
				done <- err
				return
			}
		}

		done <- nil
	}
	go load(s, false)

	go load(other, true)
	for i := range 6 {
		trusted(t, d, []*certs.Community{next, d.A}[i%2])
		reload(d)
	}

	stop()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
