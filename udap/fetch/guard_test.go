package fetch

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestPublicAddresses(t *testing.T) {
	// Covers: case 076
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.31.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "192.0.2.1": false, "198.18.0.1": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "fd12::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "2001:db8::1": false, "::127.0.0.1": false,
	} {
		t.Run(text, func(t *testing.T) {
			if got := public(netip.MustParseAddr(text)); got != want {
				t.Errorf("public(%s) = %v, want %v", text, got, want)
			}
		})
	}

	if public(netip.Addr{}) || public(netip.MustParseAddr("2606:4700::1%eth0")) {
		t.Error("no address, or one with a zone, is public")
	}
}

func TestPrivatePlacesAreNeverDialled(t *testing.T) {
	// Covers: case 076
	ca := signer(t, "A")
	c := newCanary(t)
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "mixed.example" {
			return []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("127.0.0.1")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}

	allowed := newListServer(t, bytesOf(ca.list(t, 1, epoch, time.Hour)))
	s := newSource(t, newClock(), Config{
		Allow:   []string{allowed.URL, "https://127.0.0.1:" + c.port(), "http://localhost:1"},
		Resolve: resolve,
	})

	for _, u := range []string{
		"http://127.0.0.1:" + c.port() + "/a.crl", // allowed with another scheme only
		"http://localhost:" + c.port() + "/a.crl", // allowed with another port only
		"http://[::ffff:127.0.0.1]:" + c.port() + "/a.crl",
		"http://public.example:" + c.port() + "/a.crl", // a public name that leads to loopback
		"http://mixed.example:" + c.port() + "/a.crl",
		"http://2130706433:" + c.port() + "/a.crl",
		"http://0x7f.1:" + c.port() + "/a.crl",
		"http://0:" + c.port() + "/a.crl",
		"http://[::1]:" + c.port() + "/a.crl",
		"http://[::ffff:7f00:1]:" + c.port() + "/a.crl",
		"https://localhost:" + c.port() + "/a.crl",
		"http://127.0.0.1.:" + c.port() + "/a.crl",
		"http://user@127.0.0.1:" + c.port() + "/a.crl",
		"http://127.0.0.1:" + c.port() + "/a.crl#x",
		"gopher://127.0.0.1:" + c.port() + "/",
		"file:///etc/hostname",
	} {
		if a := one(t, s, ca, u); a.Err == nil {
			t.Errorf("%s was fetched", u)
		}
	}

	if n := c.accepts.Load(); n != 0 {
		t.Fatalf("the canary saw %d connections", n)
	}
	wantNumber(t, one(t, s, ca, allowed.URL+"/a.crl"), 1)
}

func TestRedirectToPrivatePlace(t *testing.T) {
	// Covers: case 076
	ca, c := signer(t, "A"), newCanary(t)
	p := newListServer(t, nil)
	p.serve(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:"+c.port()+"/", http.StatusFound)
	})
	s := newSource(t, newClock(), Config{Allow: []string{p.URL}})
	wantError(t, one(t, s, ca, p.URL+"/a"), "redirects are not followed")
	if c.accepts.Load() != 0 {
		t.Fatal("the redirect was followed")
	}
}

func TestAllowIsExact(t *testing.T) {
	for _, bad := range []string{
		"localhost:9481", "http://localhost:9481/x", "ftp://a", "http://", "http://u@h",
		"http://h?q",
	} {
		if _, err := New(Config{Allow: []string{bad}, Now: newClock().now}); err == nil {
			t.Errorf("allow %q was taken", bad)
		}
	}

	if _, err := New(Config{Configured: []Configured{{Place: "http://"}}, Now: newClock().now}); err == nil {
		t.Error("a configured list without a host was taken")
	}
}
