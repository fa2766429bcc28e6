package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/server/servertest/chromium"
)

// A tester opens a session at the public gateway, and sees through both intermediaries
// how a request arrives, and that neither of them took part in it.
func TestBoardThroughIntermediaries(t *testing.T) {
	_, d := bedFor(t, testbed.Config{}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	b := chromium.Start(t, map[string]string{
		testbed.HostOf(d.manifest.PublicBase): d.manifest.Addresses["public"],
	})

	b.Open(d.manifest.Lab + "/")
	b.Fill("#name", "Table 7")
	b.Press("main form button")
	session := b.URL()
	if !strings.HasPrefix(session, d.manifest.Lab+"/") {
		t.Fatalf("at %s: %s", session, b.Text())
	}
	b.Eventually(`document.getElementById("live").textContent === "Live"`)

	res, err := a.http["public"].Get(session + "fhir/.well-known/udap")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil { // an answer that is left is cut off at the first hop
		t.Fatal(err)
	}
	res.Body.Close()
	b.Eventually(`document.querySelector("[id$=-discover-card].good")`)
	b.Eventually(`document.getElementById("latest").innerText.includes("2 hops passed it unchanged")`)

	b.Press("[id$=-discover-card]")
	for _, want := range []string{
		"nothing between took part: every hop passed exactly these bytes", "signed_metadata", "made by the key of x5c[0]",
	} {
		if text := b.Text(); !strings.Contains(text, want) {
			t.Errorf("no %q on the page of the request: %s", want, text)
		}
	}

	// The session's end is that of the streams which the hops still carry.
	req, err := http.NewRequest(http.MethodDelete, session+"api/session", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err = a.http["public"].Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Errorf("the session's removal: %s", res.Status)
	}
}
