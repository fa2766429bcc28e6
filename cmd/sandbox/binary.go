package main

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"debug/gosym"
	"debug/macho"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// barred are the beginnings of package paths that a gateway has no business
// with: each could judge a signature, read a resource or keep a registration.
var barred = []string{
	"fhirdest.example/udap", "fhirdest.example/fhir", "fhirdest.example/server",
	"github.com/lestrrat-go/jwx", "github.com/samply/golang-fhir-models", "go.etcd.io/bbolt",
}

// showGateway reads the gateways' own binaries, and every file that their
// configurations name.
func showGateway(_ context.Context, d *demo) (string, error) {
	if len(d.gatewayPrograms) == 0 {
		return "", hidden{d.gatewayReason}
	}

	packages := 0
	for _, program := range d.gatewayPrograms {
		n, err := linksNoneBarred(program)
		if err != nil {
			return "", err
		}
		packages = max(packages, n)
	}

	held, err := d.trustMaterial()
	if err != nil {
		return "", err
	}

	for _, name := range []string{"gateway", "delegate"} {
		if err := held.notIn(d.file(d.manifest.Configs[name])); err != nil {
			return "", err
		}
	}

	detail := fmt.Sprintf("%d packages and modules in its binary, none of them; its files hold TLS material only",
		packages)
	if d.gatewayReason != "" {
		detail += "; " + d.gatewayReason
	}

	return detail, nil
}

// linksNoneBarred counts what a program is made of.
func linksNoneBarred(program string) (int, error) {
	linked, err := linkedPackages(program)
	if err != nil {
		return 0, err
	}

	for _, p := range linked {
		for _, b := range barred {
			if p == b || strings.HasPrefix(p, b+"/") {
				return 0, fmt.Errorf("%s links %s", filepath.Base(program), p)
			}
		}
	}

	return len(linked), nil
}

// linkedPackages are the modules of which a Go program was built and the
// packages of the functions in its symbol table.
func linkedPackages(program string) ([]string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}

	seen := map[string]bool{}
	for _, m := range info.Deps {
		seen[m.Path] = true
	}

	table, err := functions(program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}

	for _, f := range table.Funcs {
		if p := packageOf(f.Name); p != "" {
			seen[p] = true
		}
	}

	if !seen["runtime"] {
		return nil, errors.New(program +
			": its symbol table does not even have the runtime: it cannot be read")
	}

	var out []string
	for p := range seen {
		out = append(out, p)
	}

	slices.Sort(out)

	return out, nil
}

// functions reads the table of functions, which stripping does not remove.
func functions(program string) (*gosym.Table, error) {
	pcln, text, err := lineTable(program)
	if err != nil {
		return nil, err
	}
	return gosym.NewTable(nil, gosym.NewLineTable(pcln, text))
}

func lineTable(program string) (pcln []byte, text uint64, err error) {
	if f, err := elf.Open(program); err == nil {
		defer f.Close()
		s, t := f.Section(".gopclntab"), f.Section(".text")
		if s == nil || t == nil {
			return nil, 0, errors.New("no table of functions")
		}

		pcln, err = s.Data()
		return pcln, t.Addr, err
	}

	f, err := macho.Open(program)
	if err != nil {
		return nil, 0, hidden{"the gateway's binary is neither ELF nor Mach-O"}
	}
	defer f.Close()

	s, t := f.Section("__gopclntab"), f.Section("__text")
	if s == nil || t == nil {
		return nil, 0, errors.New("no table of functions")
	}

	pcln, err = s.Data()
	return pcln, t.Addr, err
}

// packageOf is the package path of a function's name: all up to the first dot
// behind the last slash, type parameters apart.
func packageOf(function string) string {
	function, _, _ = strings.Cut(function, "[")
	slash := strings.LastIndexByte(function, '/') + 1
	dot := strings.IndexByte(function[slash:], '.')
	if dot < 0 {
		return ""
	}
	return strings.ReplaceAll(function[:slash+dot], "%2e", ".")
}

// texts are all strings of a YAML document.
func texts(node any) []string {
	var out []string
	switch n := node.(type) {
	case string:
		return []string{n}
	case []any:
		for _, v := range n {
			out = append(out, texts(v)...)
		}
	case map[string]any:
		for _, v := range n {
			out = append(out, texts(v)...)
		}
	}

	return out
}
