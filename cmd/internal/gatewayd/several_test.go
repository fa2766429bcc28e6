package gatewayd

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// dial is an address or a list, in each form that YAML has for one.
func TestDialIsOneAddressOrAList(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	for name, c := range map[string]struct {
		dial string
		want []string
		bad  string
	}{
		"one":            {dial: "127.0.0.1:1", want: []string{"127.0.0.1:1"}},
		"one in quotes":  {dial: `"127.0.0.1:1"`, want: []string{"127.0.0.1:1"}},
		"none":           {dial: `""`},
		"nothing":        {dial: ``},
		"a list":         {dial: `[127.0.0.1:1, "[::1]:2"]`, want: []string{"127.0.0.1:1", "[::1]:2"}},
		"a list of one":  {dial: `["127.0.0.1:1"]`, want: []string{"127.0.0.1:1"}},
		"one a line":     {dial: "\n      - a:1\n      - b:2", want: []string{"a:1", "b:2"}},
		"an empty list":  {dial: `[]`, bad: "dial is an empty list"},
		"no port":        {dial: `[a:1, b]`, bad: `dial "b" is not host:port`},
		"twice the same": {dial: `[a:1, a:1]`, bad: `dial has "a:1" twice`},
		"a mapping":      {dial: `{a: 1}`, bad: "routes[0].dial: a mapping is not HOST:PORT, or a list of them"},
		"a list of maps": {dial: `[{a: 1}]`, bad: "routes[0].dial: a list is not HOST:PORT, or a list of them"},
	} {
		t.Run(name, func(t *testing.T) {
			h.write("x.yaml", strings.NewReplacer("DIAL", c.dial, "EXTRA\n", "", "ADMIN", "127.0.0.1:0").Replace(config))
			got, err := Read(h.path("x.yaml"))
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("%v, want %s", err, c.bad)
				}
				return
			}
			if err != nil || !slices.Equal(got.Routes[0].Dial, c.want) {
				t.Errorf("%v, %v", got.Routes, err)
			}
		})
	}
}

// The pages of the loopback address name what is out; its clients have their answers.
func TestReadyNamesWhatIsOut(t *testing.T) {
	h := newEnv(t)
	h.issue("a", "a.example")
	live := h.destination(false)
	addr, s := h.start("[127.0.0.1:1, "+live+"]", "")
	for range 2 {
		if status, _, err := h.get(addr, "a.example", "/acme"); err != nil || status != 200 {
			t.Errorf("%d, %v", status, err)
		}
	}

	admin, since := s.adminPort.Addr().String(), time.Now().UTC().Format("2006-01-02T")
	for path, want := range map[string]string{
		"/ready":   `route "acme": address 127.0.0.1:1 is out: connection refused; since ` + since,
		"/metrics": "\ngateway_next_hop_up{route=\"acme\",address=\"127.0.0.1:1\"} 0\n",
	} {
		t.Run(path, func(t *testing.T) {
			status, body := fetch(t, admin, path, "localhost")
			if status != 200 || !strings.Contains(body, want) {
				t.Errorf("%d:\n%s", status, body)
			}
		})
	}

	_, metrics := fetch(t, admin, "/metrics", "localhost")
	if want := fmt.Sprintf("\ngateway_next_hop_up{route=\"acme\",address=%q} 1\n", live); !strings.Contains(metrics, want) {
		t.Errorf("the metrics have no %s", want)
	}
	if n := h.logged("an address of a next hop is out"); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}
