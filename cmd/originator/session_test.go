package main

import "testing"

// The TLS name of a private listener goes with its address: at another one it would be
// asked for in vain, or have evidence marked as past the hops between.
func TestConnectNameGoesWithItsAddress(t *testing.T) {
	const base, private = "https://fhir.test/acme/fhir", "127.0.0.1:9443"
	for name, c := range map[string]struct {
		now  remembered
		want string
	}{
		"nothing given":     {remembered{}, "destination.test"},
		"the same address":  {remembered{Connect: private}, "destination.test"},
		"another address":   {remembered{Connect: "127.0.0.1:8443"}, ""},
		"another with name": {remembered{Connect: "127.0.0.1:8443", ConnectName: "other.test"}, "other.test"},
		"another base":      {remembered{Base: "https://fhir.test/other/fhir"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &session{Remembered: remembered{Base: base, Connect: private, ConnectName: "destination.test"}}
			if s.recall(&c.now); c.now.ConnectName != c.want {
				t.Errorf("%q is asked for, want %q", c.now.ConnectName, c.want)
			}
		})
	}
}
