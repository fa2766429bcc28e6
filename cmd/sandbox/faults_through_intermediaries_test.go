package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/cmd/internal/testbed"
)

// A deliberate fault of the metadata reaches a client through both intermediaries as the
// destination made it, and what the client then does is read as it is without them:
// one that goes on to register has ignored the fault.
func TestFaultsThroughIntermediaries(t *testing.T) {
	_, d := bedFor(t, testbed.Config{}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	c := &faultyClient{
		attacker: a,
		web:      a.http["delegate"],
	}
	c.open(d.manifest.Lab)
	sound := c.get("fhir/.well-known/udap")

	var tried int
	for _, f := range c.faults() {
		if f.Stage != "metadata" || f.Base != "" {
			continue
		}
		tried++
		t.Run(f.Name, func(t *testing.T) {
			if status := c.post(t, "api/faults", `{"faults":["`+f.Name+`"]}`); status != http.StatusOK {
				t.Fatalf("the fault was not chosen: %d", status)
			}
			got := c.get("fhir/.well-known/udap")
			if got == sound {
				t.Error("the client got what it gets without the fault")
			}
			c.register(t, got)

			for {
				all := c.faults()
				i := slices.IndexFunc(all, func(o labFault) bool { return o.Name == f.Name })
				if o := all[i].Outcome; o != nil && o.Verdict == "ignored" {
					return
				} else if o != nil && o.Verdict != "not seen" {
					t.Fatalf("%+v", *o)
				}
				select {
				case <-t.Context().Done():
					t.Fatal("no verdict")
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	if tried < 30 {
		t.Errorf("%d faults were tried", tried)
	}
}

// faultyClient is in a session of its own, by way of one gateway.
type faultyClient struct {
	*attacker
	web     *http.Client
	session string // URL that ends in /
}

type labFault struct {
	Name, Stage, Base string
	Outcome           *struct{ Verdict, Text string }
}

func (c *faultyClient) open(lab string) {
	res, err := c.web.Post(lab+"/api/sessions", "application/json", strings.NewReader(`{"name":"faults"}`))
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	res.Body.Close()
	var opened struct{ ID string }
	if err != nil || res.StatusCode != http.StatusCreated || json.Unmarshal(text, &opened) != nil {
		c.t.Fatalf("%s %v %s", res.Status, err, text)
	}
	c.session = lab + "/" + opened.ID + "/"
}

// get returns the answer as text, or how it failed.
func (c *faultyClient) get(path string) string {
	res, err := c.web.Get(c.session + path)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()

	body, err := io.ReadAll(res.Body)
	text := new(bytes.Buffer)
	text.WriteString(res.Status)
	for _, name := range []string{"Content-Type", "Location", "Content-Encoding"} {
		text.WriteString("\n" + res.Header.Get(name))
	}
	text.Write(body)
	if err != nil {
		text.WriteString(err.Error())
	}
	return text.String()
}

// register goes on at the endpoint of the plain metadata, if that can be read.
func (c *faultyClient) register(t *testing.T, metadata string) {
	t.Helper()
	path := "oauth/register"
	var plain struct {
		Endpoint string `json:"registration_endpoint"`
	}
	if i := strings.IndexByte(metadata, '{'); i >= 0 && json.Unmarshal([]byte(metadata[i:]), &plain) == nil {
		if own, ok := strings.CutPrefix(plain.Endpoint, c.session); ok {
			path = own
		}
	}

	if status := c.post(t, path, `{"software_statement":"e30.e30.e30","udap":"1"}`); status/100 != 4 {
		t.Errorf("a statement that is none is answered with %d", status)
	}
}

func (c *faultyClient) post(t *testing.T, path, body string) (status int) {
	t.Helper()
	res, err := c.web.Post(c.session+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		t.Fatalf("%s %v %s", res.Status, err, text)
	}
	return res.StatusCode
}

func (c *faultyClient) faults() []labFault {
	res, err := c.web.Get(c.session + "api/faults")
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()

	var all struct{ Faults []labFault }
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		c.t.Fatal(err)
	}
	return all.Faults
}
