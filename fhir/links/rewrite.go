package links

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/narrative"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// Target is the version of a resource that an entry of a transaction makes.
type Target struct {
	Type, ID string
	Version  uint64
}

// Resolver gives what links to entries of a transaction become.
type Resolver struct {
	Base    string            // the server's base URL
	Targets map[string]Target // by the entries' fullUrls
}

// Source is where a resource with links comes from.
type Source struct {
	FullURL string // its entry's fullUrl, "" for none
	Type    string
	// Patched is set for a resource of which only some elements were sent: its
	// relative references already are relative to the base.
	Patched bool
}

// Rewrite returns the edits that make links to entries lead to what the
// entries make; links to nothing in the transaction stay as they are (R4 http
// 3.1.0.11.2).
func (r *Resolver) Rewrite(root *tree.Value, from Source) []splice.Edit {
	if len(r.Targets) == 0 {
		return nil
	}

	var edits []splice.Edit
	_ = Each(root, func(kind Kind, v *tree.Value) error { // f returns no error
		text := v.Text()
		now := text
		if kind == Narrative {
			now = narrative.Relink(text, func(link string) string {
				return r.rewritten(URL, link, from)
			})
		} else {
			now = r.rewritten(kind, text, from)
		}

		if now != text {
			edits = append(edits, Edit(v, now))
		}
		return nil
	})

	return edits
}

// Edit puts a text in the place of a string.
func Edit(v *tree.Value, text string) splice.Edit {
	quoted, _ := jsontext.AppendQuote(nil, text) // text comes from valid JSON
	return splice.Edit{
		From: v.From,
		To:   v.To(),
		With: string(quoted),
	}
}

// rewritten returns what becomes of one link. A reference to a version stays
// one, of the version that the entry makes.
func (r *Resolver) rewritten(kind Kind, link string, from Source) string {
	path, fragment, hasFragment := strings.Cut(link, "#")
	if path == "" || kind == Identity && !strings.HasPrefix(path, "urn:") {
		return link
	}

	to, versioned, ok := r.target(path, from)
	if !ok {
		return link
	}

	now := to.Type + "/" + to.ID
	if versioned {
		now += "/_history/" + strconv.FormatUint(to.Version, 10)
	}
	if path == r.Base+"/"+now {
		return link
	}

	if hasFragment {
		now += "#" + fragment
	}
	return now
}

// target finds the entry that a link leads to. A relative link is taken from
// the root of the entry's own fullUrl, or from the base when that is no URL
// (R4 bundle.html 2.36.4.1).
func (r *Resolver) target(path string, from Source) (to Target, versioned, ok bool) {
	if to, ok = r.Targets[path]; ok {
		return to, false, true
	}

	if isRelative(path) {
		root, ok := r.root(from)
		if !ok {
			return Target{}, false, false
		}
		path = root + "/" + path
	}

	if to, ok = r.Targets[path]; ok {
		return to, false, true
	}

	resource, _, versioned := strings.Cut(path, "/_history/")
	to, ok = r.Targets[resource]
	return to, versioned, ok && versioned
}

// root is the base of the server that an entry comes from.
func (r *Resolver) root(from Source) (string, bool) {
	if from.Patched || !strings.Contains(from.FullURL, "://") {
		return r.Base, true
	}
	i := strings.LastIndex(from.FullURL, "/"+from.Type+"/")
	if i < 0 {
		return "", false
	}
	return from.FullURL[:i], true
}

// isRelative reports whether a path has the form Type/id, versioned or not.
func isRelative(path string) bool {
	typ, rest, _ := strings.Cut(path, "/")
	id, version, versioned := strings.Cut(rest, "/_history/")
	return table.R4().Resource(typ) != nil && splice.ValidID(id) && (!versioned ||
		splice.ValidID(version))
}

// MayBeConditional reports whether a body may have a reference that is a search: one
// with a question mark, which may be written as an escape.
func MayBeConditional(body []byte) bool {
	return bytes.IndexByte(body, '?') >= 0 || bytes.Contains(body, []byte(`\u00`))
}

// Conditional calls f with every reference that is a search, Type?criteria. It
// stops at the first error and returns it.
func Conditional(root *tree.Value, f func(v *tree.Value, typ, criteria string) error) error {
	return Each(root, func(kind Kind, v *tree.Value) error {
		if kind != Reference {
			return nil
		}

		typ, criteria, ok := strings.Cut(v.Text(), "?")
		if !ok || table.R4().Resource(typ) == nil {
			return nil
		}
		return f(v, typ, criteria)
	})
}
