package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// measurements holds the values of each benchmark and unit, one for each round.
type measurements map[string]map[string][]float64

var procs = regexp.MustCompile(`-\d+$`)

// read adds the lines of one `go test -bench` run.
func (m measurements) read(out []byte) error {
	found := false
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}

		name := procs.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		if m[name] == nil {
			m[name] = map[string][]float64{}
		}

		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			m[name][fields[i+1]] = append(m[name][fields[i+1]], v)
		}

		found = true
	}

	if !found {
		return errors.New("no benchmark ran")
	}
	return nil
}

// value returns the median of one benchmark's unit; NaN when it was not measured.
func (m measurements) value(name, unit string) float64 {
	return median(m[name][unit])
}

// against returns the median, over the rounds, of the ratio of two rates.
func (m measurements) against(name, other string) float64 {
	a, b := m[name]["req/s"], m[other]["req/s"]
	var ratios []float64
	for i := range min(len(a), len(b)) {
		ratios = append(ratios, a[i]/b[i])
	}
	return median(ratios)
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)-1)/2]
}

// print writes a row for each benchmark, and then the goals.
func (m measurements) print(w io.Writer) {
	m.printRates(w)
	for _, k := range []struct{ kind, name string }{
		{"p256", "ES256 token"},
		{"rsa2048", "RS256 token"},
	} {
		at32 := "Token/" + k.kind + "/32"
		if !goal(w, k.name+", 32 connections: CPU against the bare signature", m.value(at32, "cpu/bare"), "<=",
			1.5) {
			m.parts(w, k.kind, k.name)
		}
		goal(w, k.name+", 32 connections: durable rate against sync off", m.against(at32, at32+
			"-nosync"),
			">=", 0.8)

		goal(w, k.name+": rate against no cache, one transaction each", m.against(at32, at32+
			"-plain"), ">=", 3)
	}

	m.printPostgres(w)
	goal(w, "registrations per second, new P-256 leaves, durable", m.value("Register/p256/32-server", "req/s"),
		">=", 2000)
}

// printPostgres writes the goal of a store on PostgreSQL.
func (m measurements) printPostgres(w io.Writer) {
	at32 := "Token/p256/32"
	goal(w, "ES256 token, 32 connections: PostgreSQL against Bolt", m.against(at32+"-postgres", at32), ">=", 0.5)
}

// printRates writes a row for each benchmark.
func (m measurements) printRates(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		rate := m.value(name, "req/s")
		switch {
		case math.IsNaN(rate):
		case strings.HasPrefix(name, "Whole"):
			fmt.Fprintf(
				w,
				"%-24s %8.0f req/s %7.0f us CPU\n",
				name,
				rate,
				m.value(name, "cpu-µs/req"),
			)
		default:
			fmt.Fprintf(w, "%-24s %8.0f req/s %7.0f us CPU %6.0f us bare %6.2f CPU/bare\n", name, rate,
				m.value(name, "cpu-µs/req"), m.value(name, "bare-µs"), m.value(name, "cpu/bare"))
		}
	}

	fmt.Fprintln(w)
}

// goal writes one goal with its verdict. What was not measured is not met.
func goal(w io.Writer, name string, value float64, sign string, limit float64) bool {
	met := sign == ">=" && value >= limit || sign == "<=" && value <= limit
	verdict := "below"
	if met {
		verdict = "met"
	}
	fmt.Fprintf(w, "%-64s %7.2f  goal %s %-6g %s\n", name, value, sign, limit, verdict)
	return met
}

// parts writes what the CPU time of a token consists of.
func (m measurements) parts(w io.Writer, kind, name string) {
	total := m.value("Token/"+kind+"/32", "cpu-µs/req")
	signature := m.value("Parts/"+kind+"/signature", "cpu-ns/op") / 1000
	verifier := m.value("Parts/"+kind+"/verifier-warm", "cpu-ns/op")/1000 - signature
	transport := m.value("Token/"+kind+"/32-http", "cpu-µs/req")
	commit := m.value("TrustIssue/32", "cpu-ns/op") / 1000

	fmt.Fprintf(w,
		"  %s, us of CPU: signature %.0f; the rest of the verifier (chain, CRLs, claims, trace) %.0f; "+
			"net/http and TLS %.0f; commit, shared by up to 32, %.0f; the rest (form, grant, token, scheduler, "+
			"memory) %.0f\n",
		name, signature, verifier, transport, commit, total-signature-verifier-transport-commit)

	fmt.Fprintf(w, "  signature, net/http and TLS alone would be %.2f\n", (signature+
		transport)/signature)
}
