package gateway

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"fhirdest.example/gateway/wire"
)

// Among thousands of routes of one host the longest prefix is found, with as much work as
// there are different lengths and without an allocation.
//
// Covers: case 296
func TestLongestPrefixOfMany(t *testing.T) {
	var routes []Route
	add := func(name string, prefixes ...string) {
		routes = append(routes, Route{
			Name:     name,
			Hosts:    []string{"fhir.example"},
			Prefixes: prefixes,
			Next:     "https://next.example",
			TLS:      &tls.Config{},
		})
	}

	for i := range 2000 {
		add(fmt.Sprint(i), fmt.Sprintf("/site%d/", i), fmt.Sprintf("/.well-known/x/site%d", i))
	}
	add("deep", "/site7/a/b")
	add("rest", "/site7/a", "/odd//", "/odd%2Fx")

	table, err := newTable(routes, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(table.hosts["fhir.example"].lengths); n > 20 {
		t.Errorf("a look-up tries %d lengths", n)
	}

	for target, want := range map[string]string{
		"/site1999":               "1999",
		"/site1999/x?y":           "1999",
		"/site1999?y=/site3":      "1999",
		"/site1999x":              "",
		"/site20000":              "",
		"/.well-known/x/site5/z":  "5",
		"/.well-known/x/site5x":   "",
		"/.well-known/x":          "",
		"/site7/a/b/c":            "deep",
		"/site7/a/b":              "deep",
		"/site7/a/bc":             "rest",
		"/site7/ab":               "7",
		"/site7?/a/b":             "7",
		"/odd":                    "rest",
		"/odd//x":                 "rest",
		"/odd%2Fx/y":              "rest",
		"/odd%2fx":                "",
		"/":                       "",
		"//site7":                 "",
		"/Site7":                  "",
		strings.Repeat("/", 8000): "",
	} {
		t.Run(target[:min(len(target), 40)], func(t *testing.T) {
			var r wire.Request
			if err := wire.ParseRequest([]byte("GET "+target+" HTTP/1.1\r\nHost: fhir.example\r\n\r\n"),
				&r); err != nil {
				t.Fatal(err)
			}

			found, fault := table.route(&r)
			got := ""
			if found.route != nil {
				got = found.route.Name
			}
			if got != want || (fault == nil) != (want != "") {
				t.Errorf("it leads to %q, %v; want %q", got, fault, want)
			}

			if n := testing.AllocsPerRun(10, func() { table.route(&r) }); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
