package answer_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/trace"
)

func forgeID(id string) trace.ClientID { return trace.ClientID(id) }

// dialing is a transport that connects to one address when a URL has a host.
func dialing(host, address string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, wanted string) (net.Conn, error) {
			if strings.HasPrefix(wanted, host+":") {
				wanted = address
			}
			return (&net.Dialer{}).DialContext(ctx, network, wanted)
		},
	}
}

// Every fault has all that a page shows about it, and a name for URLs; there are
// sixty at least, and some in every stage.
func TestCatalogueIsComplete(t *testing.T) {
	names := map[string]bool{}
	stages := map[answer.Stage]int{}
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, f := range answer.All() {
		switch {
		case names[f.Name] || !form.MatchString(f.Name):
			t.Errorf("the name %q", f.Name)
		case f.Title == "" || f.Correct == "" || f.Rule == "" || f.Ignored == "":
			t.Errorf("%s: %+v", f.Name, f)
		case f.Within <= 0 || f.Lasts == "" || f.Silence != answer.Noticed && f.Silence != answer.NotSeen:
			t.Errorf("%s: within %s, lasts %q, silence %q", f.Name, f.Within, f.Lasts, f.Silence)
		case answer.Find(f.Name) == nil || answer.Find(f.Name).Title != f.Title:
			t.Errorf("%s is not found", f.Name)
		}
		names[f.Name] = true
		stages[f.Stage]++
	}

	if len(names) < 60 || len(stages) != 8 {
		t.Errorf("%d faults in %d stages: %v", len(names), len(stages), stages)
	}
	if answer.Find("no-such-fault") != nil {
		t.Error("a fault without a name is found")
	}
}

// machine are the stages that a client without a person meets.
var machine = []answer.Stage{
	answer.Metadata,
	answer.Registration,
	answer.Token,
	answer.FHIR,
	answer.Hop,
}

// Our originator notices every fault that it can meet without a person; a client
// that looks at nothing ignores every one. Without a request there is no verdict.
func TestMachinesNoticeOrIgnore(t *testing.T) {
	d := newDestination(t)
	for i, f := range answer.All() {
		if !slices.Contains(machine, f.Stage) || f.Name == "registration-other-redirect" {
			continue // the last is met by a client for people
		}
		t.Run(f.Name, func(t *testing.T) {
			if !f.Available(d.tools) {
				t.Fatal("the tools do not suffice")
			}
			d.choose(f)
			expect(t, d.front, f, answer.NotSeen)

			uri := fmt.Sprintf("https://careful.test/%d", i)
			err := d.careful(t, uri)
			expect(t, d.front, f, answer.Noticed, fmt.Sprint(err))

			d.choose(f)
			uri = fmt.Sprintf("https://naive.test/%d", i)
			n := newNaive(t, d.front, d.Client(d.A, uri), uri, dialing("fhir.test", d.Addr))
			n.discover(servertest.URIA)
			n.register()
			n.ask(url.Values{
				"grant_type": {"client_credentials"},
				"scope":      {wantedScope},
			})
			n.read()
			expect(t, d.front, f, answer.Ignored)
		})
	}
}

// expect reads what followed a fault when its time has passed.
func expect(t *testing.T, f *front, fault *answer.Fault, want answer.Verdict, more ...string) {
	t.Helper()
	all := f.exchanges()
	got := fault.Read(all, f.now().Add(2*time.Minute))
	if got.Verdict == want && got.Text != "" {
		return
	}

	var lines []string
	for _, e := range all {
		lines = append(lines, fmt.Sprintf("%d %s %s %.100s: %d %s", e.N, e.Step, e.Method, e.Target, e.Status, e.Fault))
	}
	t.Errorf("%s: %s, want %s\n%v\n%s", got.Verdict, got.Text, want, more, strings.Join(lines, "\n"))
}

// careful goes through all steps as our originator does, and stops where it stops.
func (d *destination) careful(t *testing.T, uri string) error {
	t.Helper()
	ctx := context.Background()
	c := d.Originator(d.A, d.Client(d.A, uri))
	found, err := c.Discover(ctx)
	if err != nil {
		return err
	}

	reg := client.Registration{
		ClientName: "Careful",
		Contacts:   []string{"mailto:a@careful.test"},
		Scope:      wantedScope,
	}
	var out *client.Registered
	for range 2 { // the second is a change
		if out, err = c.Register(ctx, found, reg); err != nil {
			return err
		}
	}

	ask := client.TokenRequest{
		ClientID: out.ClientID,
		Scope:    out.Scope,
		B2B:      servertest.Treatment(),
	}
	tok, err := c.Token(ctx, found, ask)
	if err != nil {
		return err
	}

	d.moved.Add(int64(8 * time.Second))
	if d.now().After(tok.Expires) {
		if tok, err = c.Token(ctx, found, ask); err != nil {
			return err
		}
	}
	return d.reads(ctx, client.Reader{
		Client: c,
		Token:  tok,
	})
}

// reads reads pages of patients, then one patient and what is known about that one.
func (d *destination) reads(ctx context.Context, c client.Reader) error {
	var ids []string
	resource := regexp.MustCompile(`"fullUrl":"[^"]*/Patient/([^"]+)"`)
	_, err := c.Pages(ctx, "Patient?_count=1", func(r *client.Read) error {
		for _, m := range resource.FindAllStringSubmatch(string(r.Reply.Body), -1) {
			ids = append(ids, m[1])
		}
		return nil
	})
	if err != nil {
		return err
	}

	if _, err := c.Get(ctx, "Patient/"+ids[0]); err != nil {
		return err
	}
	_, err = c.Get(ctx, "Observation?patient="+ids[0])
	return err
}
