package netname_test

import (
	"testing"

	"fhirdest.example/certs/netname"
)

func TestOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"https://Fhir.Example.org/a?b#c": "https://fhir.example.org:443",
		"http://fhir.example.org":        "http://fhir.example.org:80",
		"http://fhir.example.org:9481/":  "http://fhir.example.org:9481",
		"https://[2001:DB8::1]/":         "https://[2001:db8::1]:443",
		"HTTP://h":                       "http://h:80",
		"https://user@h":                 "",
		"ftp://h":                        "",
		"h:443":                          "",
		"/path":                          "",
		"":                               "",
		"https://":                       "",
		"https://h:x":                    "",
	} {
		t.Run(text, func(t *testing.T) {
			if got := netname.Origin(text); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": false, "::": false, "192.0.2.1": false, "localhost.example.org": false, "": false,
	} {
		t.Run(host, func(t *testing.T) {
			if got := netname.Loopback(host); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestPrefix(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7":          "192.0.2.7/32",
		"::ffff:192.0.2.7":   "192.0.2.7/32",
		"2001:db8::1":        "2001:db8::1/128",
		"fe80::1%eth0":       "fe80::1/128",
		"192.0.2.7/24":       "192.0.2.0/24",
		"gateway.example":    "",
		"192.0.2.7/33":       "",
		"192.0.2.7/24,10/8":  "",
		"192.0.2.7:443":      "",
		"192.0.2.7-192.0.3.": "",
	} {
		t.Run(text, func(t *testing.T) {
			p, err := netname.Prefix(text)
			if err != nil && want != "" || err == nil && p.String() != want {
				t.Errorf("%v %v, want %q", p, err, want)
			}
		})
	}
}
