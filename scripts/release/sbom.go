package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/scripts/release/build"
)

// bom is a software bill of materials in the form of CycloneDX 1.6.
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn,omitempty"`
}

// program is a built program and what the go command recorded in it.
type program struct {
	name string
	data []byte
	info *buildinfo.BuildInfo
}

// describe returns the bill of materials of programs of one platform: each program
// with its digest, and each module that is linked into one, with the digest by
// which go.sum names it.
func describe(s build.Source, p build.Platform, programs []program) ([]byte, error) {
	whole := component{
		Type:    "application",
		Ref:     "fhirdest-" + p.String(),
		Name:    "fhirdest-" + p.String(),
		Version: s.Version,
	}
	b := bom{
		Format:  "CycloneDX",
		Spec:    "1.6",
		Version: 1,
		Metadata: metadata{
			Timestamp: s.Time.Format(time.RFC3339),
			Component: whole,
		},
	}

	contents := dependency{Ref: whole.Ref}
	libraries := map[string]component{}
	for _, one := range programs {
		linked, err := modules(one.info)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.name, err)
		}
		maps.Copy(libraries, linked)

		app := application(s, one)
		b.Components = append(b.Components, app)
		contents.On = append(contents.On, app.Ref)
		b.Dependencies = append(b.Dependencies, dependency{
			Ref: app.Ref,
			On:  slices.Sorted(maps.Keys(linked)),
		})
	}

	for _, ref := range slices.Sorted(maps.Keys(libraries)) {
		b.Components = append(b.Components, libraries[ref])
		b.Dependencies = append(b.Dependencies, dependency{Ref: ref})
	}
	b.Dependencies = append(b.Dependencies, contents)
	out, err := json.Marshal(b, jsontext.WithIndent("  "))
	return append(out, '\n'), err
}

func application(s build.Source, p program) component {
	sum := sha256.Sum256(p.data)
	return component{
		Type:    "application",
		Ref:     p.name,
		Name:    p.name,
		Version: s.Version,
		Hashes:  []hash{{Algorithm: "SHA-256", Content: hex.EncodeToString(sum[:])}},
	}
}

// modules returns the modules that are linked into a program, and Go's own library,
// by their package URLs.
func modules(info *buildinfo.BuildInfo) (map[string]component, error) {
	out := map[string]component{}
	for _, m := range info.Deps {
		c, err := library(actual(m))
		if err != nil {
			return nil, err
		}
		out[c.Ref] = c
	}

	std := strings.TrimPrefix(info.GoVersion, "go")
	c, err := library(&debug.Module{Path: "std", Version: std})
	out[c.Ref] = c
	return out, err
}

// actual returns the module that is linked in place of one that was replaced.
func actual(m *debug.Module) *debug.Module {
	return cmp.Or(m.Replace, m)
}

func library(m *debug.Module) (component, error) {
	purl := "pkg:golang/" + m.Path + "@" + url.QueryEscape(m.Version)
	c := component{
		Type:    "library",
		Ref:     purl,
		Name:    m.Path,
		Version: m.Version,
		PURL:    purl,
	}
	if m.Sum == "" {
		return c, nil
	}

	sum, ok := strings.CutPrefix(m.Sum, "h1:")
	if !ok {
		return c, fmt.Errorf("%s: the digest %q is of no known kind", m.Path, m.Sum)
	}
	raw, err := base64.StdEncoding.DecodeString(sum)
	c.Hashes = []hash{{Algorithm: "SHA-256", Content: hex.EncodeToString(raw)}}
	return c, err
}
