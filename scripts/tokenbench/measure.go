package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"fhirdest.example/scripts/measure"
)

// benchmarks holds the values of each benchmark by unit, of one round.
type benchmarks map[string]map[string]float64

var procs = regexp.MustCompile(`-\d+$`)

// read adds the lines of one `go test -bench` run.
func (m benchmarks) read(out []byte) error {
	found := false
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}

		name := procs.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		if m[name] == nil {
			m[name] = map[string]float64{}
		}

		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			m[name][fields[i+1]] = v
		}

		found = true
	}

	if !found {
		return errors.New("no benchmark ran")
	}
	return nil
}

// Sides of the cases.
const (
	floors    = "floors"    // signature, net/http with TLS, and commit: their sum
	signature = "signature" // checked alone
	transport = "http+TLS"  // net/http and TLS, with a constant answer
	commit    = "commit"    // of a token, shared by up to 32
	verifier  = "verifier"  // chain, CRLs, claims and trace, with the signature
	ours      = "ours"
	noSync    = "no sync"
	plain     = "plain" // no cache, and a Bolt transaction for each request
	postgres  = "PostgreSQL"
)

// tokenCase is the case of one kind of signature.
type tokenCase struct{ kind, name string }

var tokenCases = []tokenCase{
	{"p256", "ES256 token, 32 connections"},
	{"rsa2048", "RS256 token, 32 connections"},
}

// add adds a round to a run.
func (m benchmarks) add(r *measure.Run) {
	for _, c := range tokenCases {
		m.addToken(r, c)
	}

	for _, kind := range []string{"p256", "rsa2048"} {
		for _, connections := range []string{"1", "128"} {
			m.addRate(r, "tokens by connections", kind+", "+connections, "Token/"+kind+"/"+connections)
		}
	}

	m.addRate(r, "registration, new P-256 leaf", plain, "Register/p256/32-plain")
	m.addRate(r, "registration, new P-256 leaf", ours, "Register/p256/32-server")
	m.addRate(r, "introspection", ours, "Introspect")
	for _, what := range []string{"token/p256", "token/rsa2048", "read"} {
		m.addRate(r, "whole destination", what, "Whole/"+what)
	}
}

// addToken adds the sides of a token, the floors before all others.
func (m benchmarks) addToken(r *measure.Run, c tokenCase) {
	at32 := "Token/" + c.kind + "/32"
	parts := []struct {
		side string
		cpu  float64 // µs
	}{
		{signature, m["Parts/"+c.kind+"/signature"]["cpu-ns/op"] / 1000},
		{transport, m[at32+"-http"]["cpu-µs/req"]},
		{commit, m["TrustIssue/32"]["cpu-ns/op"] / 1000},
	}

	sum := 0.0
	all := true
	for _, p := range parts {
		sum += p.cpu
		all = all && p.cpu > 0
	}

	if all {
		r.Add(c.name, floors, measure.Values{measure.CPUMicros: sum})
		for _, p := range parts {
			r.Add(c.name, p.side, measure.Values{measure.CPUMicros: p.cpu})
		}
		r.Add(c.name, verifier, measure.Values{
			measure.CPUMicros: m["Parts/"+c.kind+"/verifier-warm"]["cpu-ns/op"] / 1000,
		})
	}

	m.addRate(r, c.name, ours, at32)
	m.addRate(r, c.name, noSync, at32+"-nosync")
	m.addRate(r, c.name, plain, at32+"-plain")
	m.addRate(r, c.name, postgres, at32+"-postgres")
}

// addRate adds a benchmark that sends requests, if it ran.
func (m benchmarks) addRate(r *measure.Run, work, side, name string) {
	b, ok := m[name]
	if !ok {
		return
	}

	v := measure.Values{
		measure.PerSecond: b["req/s"],
		measure.CPUMicros: b["cpu-µs/req"],
	}
	if n, ok := b["allocs/op"]; ok {
		v["allocations"] = n
	}
	r.Add(work, side, v)
}

// goals are those of all benchmarks, or of those on PostgreSQL only.
func goals(onPostgres bool) (all []measure.Goal) {
	for _, c := range tokenCases {
		ratio := func(unit, of string) measure.Goal {
			return measure.Goal{
				Case: c.name,
				Unit: unit,
				Side: ours,
				Of:   of,
			}
		}
		cpu := ratio(measure.CPUMicros, floors)
		cpu.Most = 1.5

		durable := ratio(measure.PerSecond, noSync)
		durable.Least = 0.8
		caches := ratio(measure.PerSecond, plain)
		caches.Least = 3
		if !onPostgres {
			all = append(all, cpu, durable, caches)
		}
	}

	all = append(all, measure.Goal{
		Case:  tokenCases[0].name,
		Unit:  measure.PerSecond,
		Side:  postgres,
		Of:    ours,
		Least: 0.5,
	})

	if onPostgres {
		return all
	}

	return append(all, measure.Goal{
		Case:  "registration, new P-256 leaf",
		Unit:  measure.PerSecond,
		Side:  ours,
		Least: 2000,
	})
}
