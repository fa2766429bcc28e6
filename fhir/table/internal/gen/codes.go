package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// terminology is a ValueSet or a CodeSystem.
type terminology struct {
	ResourceType, URL, Content string
	Concept                    []concept
	Compose                    struct{ Include, Exclude []include }
}

type concept struct {
	Code    string
	Concept []concept
}

type include struct {
	System   string
	Concept  []concept
	Filter   []struct{ Op string }
	ValueSet []string
}

// binding names the value set of an element whose codes are all that it may
// hold.
func (d *definitions) binding(e element) string {
	if e.Binding.Strength != "required" || e.Binding.ValueSet == "" {
		return ""
	}

	url, _, _ := strings.Cut(e.Binding.ValueSet, "|")
	if len(d.expand(url, 0)) == 0 {
		return ""
	}

	d.used[url] = true
	return last(url)
}

// writeCodes writes the codes of each value set in use, one line for each of
// its systems.
func (d *definitions) writeCodes(out io.Writer) {
	for _, url := range slices.Sorted(maps.Keys(d.used)) {
		sets := d.expand(url, 0)
		for _, system := range slices.Sorted(maps.Keys(sets)) {
			fmt.Fprintf(
				out,
				"codes\t%s\t%s\t%s\n",
				last(url),
				system,
				strings.Join(sets[system], " "),
			)
		}
	}
}

// expand lists a value set's codes by system; nothing when they cannot be
// listed whole (filters, or a system that is not in the package).
func (d *definitions) expand(url string, depth int) map[string][]string {
	vs := d.find("ValueSet", url)
	if vs == nil || depth > 4 || len(vs.Compose.Exclude) > 0 {
		return nil
	}

	all := map[string][]string{}
	for _, in := range vs.Compose.Include {
		part := d.expandInclude(in, depth)
		if len(part) == 0 {
			return nil
		}

		for system, codes := range part {
			all[system] = append(all[system], codes...)
		}
	}

	return all
}

func (d *definitions) expandInclude(in include, depth int) map[string][]string {
	switch {
	case len(in.Filter) > 0:
		return nil
	case in.System == "" && len(in.ValueSet) == 1:
		return d.expand(in.ValueSet[0], depth+1)
	case len(in.Concept) > 0:
		return map[string][]string{in.System: flatten(in.Concept)}
	}

	cs := d.find("CodeSystem", in.System)
	if cs == nil || cs.Content != "complete" {
		return nil
	}
	return map[string][]string{in.System: flatten(cs.Concept)}
}

func (d *definitions) find(resourceType, url string) *terminology {
	url, _, _ = strings.Cut(url, "|")
	for _, from := range []*bundle[terminology]{&d.valueSets, &d.v3} {
		for i := range from.Entry {
			if r := &from.Entry[i].Resource; r.ResourceType == resourceType && r.URL == url {
				return r
			}
		}
	}

	return nil
}

func flatten(list []concept) []string {
	var codes []string
	for _, c := range list {
		codes = append(append(codes, c.Code), flatten(c.Concept)...)
	}
	return codes
}
