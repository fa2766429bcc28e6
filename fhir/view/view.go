// Package view shows a person a resource or a search result as a page of HTML
// that needs no script and no other file. It validates nothing: what it is given
// has been stored or made by the server.
package view

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/url"
	"strings"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap/look"
)

// Policy is the Content-Security-Policy that a page must be sent with: nothing
// runs, nothing is fetched, nobody frames it. The frame of a narrative
// inherits it and is sandboxed besides.
const Policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action " +
	"'none'; frame-ancestors 'none'"

// MediaType is what a page is sent as.
const MediaType = "text/html; charset=utf-8"

//go:embed page.html
var files embed.FS

var pages = template.Must(look.Template("view").ParseFS(files, "page.html"))

// Page makes the page of one resource, a Bundle with its entries included.
// Base is the public FHIR base URL without a slash at its end: links lead
// under it only, and ask for HTML again.
func Page(base string, body []byte) ([]byte, error) {
	root, err := tree.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}

	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, "page.html", newPage(viewer{
		base:  base,
		table: table.R4(),
	}, root)); err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}

	return out.Bytes(), nil
}

// viewer is what every part of one page draws on.
type viewer struct {
	base  string
	table *table.Table
}

// page is what the template shows.
type page struct {
	Base, Home  string
	Type, Title string
	Where       []link // the resource and what is around it
	Facts       []fact
	Labels      []label
	Narrative   *frame
	Issues      []issue
	Links       []link // of a Bundle: pages before and after
	Entries     []entry
	Elements    []node
	JSON        string
}

type link struct{ Text, Href string }

type fact struct{ Name, Text string }

type label struct{ Code, Display, Class string }

// frame is a narrative in its sandbox; Rows guesses its height.
type frame struct {
	Document string
	Rows     int
}

type issue struct{ Severity, Code, Text, Where string }

// entry is one line of a Bundle.
type entry struct {
	Href, Name, Title, When, Mode string
	Labels                        []label
}

func newPage(v viewer, root *tree.Value) page {
	kind := root.Get("resourceType").Text()
	p := page{
		Base: v.base, Home: v.base + "/metadata?_format=html",
		Type: kind, Title: v.title(root), Labels: labels(root), Facts: facts(root),
		Narrative: narrative(root), Issues: issues(root), JSON: pretty(root),
	}

	if kind == "Bundle" {
		p.Title = bundleTitle(root.Get("type").Text())
		p.Links, p.Entries = v.pageLinks(root), v.entries(root)
		return p
	}

	p.Where = v.around(kind, root.Get("id").Text())
	if t := v.table.Type(kind); t != nil && kind != "OperationOutcome" {
		p.Elements = v.children(root, t)
	}
	return p
}

// Heading is the title of the page's window.
func (p page) Heading() string {
	if p.Title == "" {
		return p.Type
	}
	return p.Title + " · " + p.Type
}

// bundleTitle names the kind of a Bundle.
func bundleTitle(kind string) string {
	switch kind {
	case "searchset":
		return "Search result"
	case "history":
		return "History"
	}
	return strings.ReplaceAll(kind, "-", " ")
}

// around links a resource with itself, its past, and its compartment.
func (v viewer) around(kind, id string) []link {
	if id == "" {
		return nil
	}

	at := v.base + "/" + kind + "/" + id
	list := []link{
		{kind, v.base + "/" + kind + "?_format=html"},
		{id, at + "?_format=html"},
		{"history", at + "/_history?_format=html"},
	}

	if kind == "Patient" {
		list = append(list, link{"everything", at + "/$everything?_format=html"})
	}
	return append(list, link{"as JSON", at + "?_format=json"})
}

func facts(root *tree.Value) []fact {
	var list []fact
	add := func(name, text string) {
		if text != "" {
			list = append(list, fact{name, text})
		}
	}
	add("version", root.At("meta", "versionId").Text())
	add("last updated", root.At("meta", "lastUpdated").Text())

	if root.Get("resourceType").Text() == "Bundle" {
		add("kind", root.Get("type").Text())
		add("total", root.Get("total").Literal())
	}
	return list
}

// labels gives the security labels of a resource, the grave ones marked.
func labels(root *tree.Value) []label {
	var list []label
	for _, c := range root.At("meta", "security").Each() {
		l := label{
			Code:    c.Get("code").Text(),
			Display: c.Get("display").Text(),
			Class:   "plain",
		}
		switch l.Code {
		case "R", "V":
			l.Class = "grave"
		case "HTEST":
			l.Class = "test"
		}

		list = append(list, l)
	}

	return list
}

// narrative puts a text into a document of its own, for a frame that can do
// nothing.
func narrative(root *tree.Value) *frame {
	div := root.At("text", "div").Text()
	if div == "" {
		return nil
	}

	rows := 1
	for _, tag := range []string{"<p", "<tr", "<li", "<br", "<h", "<div", "<dt"} {
		rows += strings.Count(div, tag)
	}

	const head = `<!DOCTYPE html><meta charset="utf-8"><title>narrative</title>` +
		`<style>body{font:15px system-ui,sans-serif;margin:8px}p{margin:.3em 0}</style>`
	return &frame{
		Document: head + div,
		Rows:     min(max(rows, 2), 16),
	}
}

func issues(root *tree.Value) []issue {
	var list []issue
	for _, i := range root.Get("issue").Each() {
		text := i.At("details", "text").Text()
		if text == "" {
			text = i.Get("diagnostics").Text()
		}
		var where []string

		for _, e := range i.Get("expression").Each() {
			where = append(where, e.Text())
		}

		list = append(list, issue{
			i.Get("severity").Text(),
			i.Get("code").Text(),
			text,
			strings.Join(where, ", "),
		})
	}

	return list
}

// pageLinks gives a Bundle's links, those that lead under the base.
func (v viewer) pageLinks(root *tree.Value) []link {
	var list []link
	for _, l := range root.Get("link").Each() {
		if href, ok := v.under(l.Get("url").Text()); ok {
			list = append(list, link{l.Get("relation").Text(), href})
		}
	}
	return list
}

func (v viewer) entries(root *tree.Value) []entry {
	var list []entry
	for _, e := range root.Get("entry").Each() {
		r := e.Get("resource")
		kind, id := r.Get("resourceType").Text(), r.Get("id").Text()
		line := entry{
			Name:   kind + "/" + id,
			Title:  joined(": ", v.title(r), value(r)),
			When:   r.At("meta", "lastUpdated").Text(),
			Mode:   e.At("search", "mode").Text(),
			Labels: labels(r),
		}

		if r == nil {
			line.Name = e.At("request", "method").Text() + " " + e.At("request", "url").Text()
			line.When = e.At("response", "lastModified").Text()
		} else if id == "" {
			line.Name = kind
		} else {
			line.Href = v.base + "/" + kind + "/" + id + "?_format=html"
		}

		list = append(list, line)
	}

	return list
}

// under makes a link to a URL or relative reference of this server, asking for
// HTML; false for every other.
func (v viewer) under(target string) (string, bool) {
	rest, own := strings.CutPrefix(target, v.base+"/")
	if !own && target != v.base {
		name, _, _ := strings.Cut(target, "/")
		if v.table.Resource(name) == nil || !strings.Contains(target, "/") {
			return "", false
		}
		rest = target
	}

	u, err := url.Parse(rest)
	if err != nil || u.Scheme != "" || u.Host != "" || strings.Contains(u.Path, "..") {
		return "", false
	}

	if !u.Query().Has("_format") {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += "_format=html"
	}

	return v.base + "/" + strings.TrimPrefix(u.String(), "./"), true
}

// pretty is the body as sent, indented for reading; values keep their bytes.
func pretty(root *tree.Value) string {
	var out strings.Builder
	indent(&out, root, "\n")
	return out.String()
}

func indent(out *strings.Builder, v *tree.Value, line string) {
	if len(v.Items) == 0 {
		out.WriteString(v.Raw)
		return
	}

	last := map[tree.Kind]string{
		tree.Object: "}",
		tree.Array:  "]",
	}[v.Kind]
	out.WriteByte(byte(v.Kind))

	for i := range v.Items {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(line + "  ")
		if v.Kind == tree.Object {
			out.WriteString(`"` + v.Items[i].Name + `": `)
		}
		indent(out, &v.Items[i], line+"  ")
	}

	out.WriteString(line + last)
}
