package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"fhirdest.example/scripts/drive"
	"fhirdest.example/scripts/measure"
)

// further are kinds of requests whose work may grow with the population.
var further = []drive.Kind{
	{
		Name:    "_sort",
		Clients: 4,
		Next:    get("/Observation?_sort=-date&_count=20"),
	},
	{
		Name:    "_total=accurate",
		Clients: 4,
		Next:    get("/Observation?code=8867-4&_total=accurate&_count=20"),
	},
	{
		Name:    "_has",
		Clients: 4,
		Next:    get("/Patient?_has:Observation:patient:code=8867-4&_count=20"),
	},
}

// get asks for the same thing every time.
func get(target string) func(drive.Requests) []byte {
	return func(r drive.Requests) []byte { return r.Get(target) }
}

// compareFurther measures the kinds in further and a deep page.
func compareFurther(
	ctx context.Context, r *measure.Run, o *measure.Options, prefix string, d time.Duration, servers []drive.Server,
) error {
	for _, k := range further {
		if !o.Wants(k.Name) {
			continue
		}

		var sides []measure.Side
		for _, s := range servers {
			sides = append(sides, side(s, k, d))
		}
		if err := r.Turns(prefix+k.Name, o.Rounds, sides...); err != nil {
			return err
		}
	}

	if !o.Wants(deepPage) {
		return nil
	}
	var sides []measure.Side
	for _, s := range servers {
		page, err := deep(ctx, s.Address)
		if err != nil {
			return err
		}
		sides = append(sides, side(s, drive.Kind{
			Name:    deepPage,
			Clients: 4,
			Next:    get(page),
		}, d))
	}
	return r.Turns(prefix+deepPage, o.Rounds, sides...)
}

func side(s drive.Server, k drive.Kind, d time.Duration) measure.Side {
	return measure.Side{
		Name: s.Name,
		Do: func() (measure.Values, error) {
			return drive.Run(s.Address, k.Clients, d, func() []byte { return k.Next(s.Requests) }, s.CPU)
		},
	}
}

// deepPage is the page of that number in the order of the store.
const (
	deepPage = "page 100"
	pages    = 100
)

var nextLink = regexp.MustCompile(`\{"relation":"next","url":"https://fhir\.test/fhir([^"]*)"\}`)

// deep follows the links to a page far behind, and returns its URL below the base.
func deep(ctx context.Context, addr string) (string, error) {
	target := "/Observation?_count=20&_total=none"
	for range pages - 1 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/fhir"+target, nil)
		if err != nil {
			return "", err
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return "", err
		}

		next := nextLink.FindSubmatch(text)
		if next == nil {
			return "", errors.New("there are too few pages")
		}
		target = string(next[1])
	}
	return target, nil
}
