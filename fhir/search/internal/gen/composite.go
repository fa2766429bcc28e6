package main

import (
	"fmt"
	"strings"

	"fhirdest.example/fhir/table"
)

// composites returns the places of a composite parameter for resources of type
// base: for each the element, and for each part its kind, "=", and its paths
// below that element.
func composites(t *table.Table, e elements, base string, p *table.Param) ([]string, error) {
	var places []string
	for _, alt := range alternatives(p.Expression) {
		if alt != base && !strings.HasPrefix(alt, base+".") {
			continue
		}

		at, err := resolve(e, alt, "", "")
		if err != nil {
			return nil, err
		}

		place := at[0]
		below, _, _ := strings.Cut(place, ":")
		for _, c := range p.Components {
			text, err := component(t, e, alt, below, c)
			if err != nil {
				return nil, err
			}
			place += " " + text
		}

		places = append(places, place)
	}

	if len(places) == 0 {
		return nil, fmt.Errorf("no place in %q", p.Expression)
	}
	return places, nil
}

func component(
	t *table.Table, e elements, at, below string, c table.Component,
) (string, error) {
	kind := ""
	for _, p := range t.Params {
		if p.URL == c.Definition {
			kind = p.Type
		}
	}

	var paths []string
	for _, alt := range alternatives(c.Expression) {
		got, err := compileOne(e, at+"."+alt)
		if err != nil {
			return "", err
		}

		for _, one := range got {
			if below != "" {
				one = strings.TrimPrefix(one, below+"/")
			}
			paths = append(paths, one)
		}
	}

	switch { // HL7 names the two parts of DocumentReference's relationship the wrong way round
	case kind == "reference" && strings.HasSuffix(paths[0], ":code"):
		kind = "token"
	case kind == "token" && strings.HasSuffix(paths[0], ":Reference"):
		kind = "reference"
	}

	if kind == "" {
		return "", fmt.Errorf("no parameter %s", c.Definition)
	}
	return kind + "=" + strings.Join(paths, ","), nil
}
