package server

import (
	"context"
	"strings"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/server/console"
	"fhirdest.example/udap/trace"
)

// accountant accounts for disclosures on the console. It implements
// console.Accountant.
type accountant struct{ site *Site }

// Disclosures implements console.Accountant.
func (a accountant) Disclosures(
	ctx context.Context, patient, start, end string,
) ([]console.Disclosure, error) {
	if !search.ValidID(patient) {
		return nil, &console.BadQuestion{Text: "Write the id of a patient: letters, digits, - and ."}
	}
	for _, day := range []string{start, end} {
		if _, _, ok := search.Instants(day); day != "" && !ok {
			return nil, &console.BadQuestion{Text: "Write a day as 2026-01-31."}
		}
	}

	all, err := fhir.Disclosures(ctx, a.site.service, patient, start, end)
	if err != nil {
		if fhir.IsTooCostly(err) {
			return nil, &console.BadQuestion{Text: "There are too many records of this time. Choose a shorter one."}
		}
		a.site.deps.Log.Error("the disclosures cannot be read", "cause", err)
		return nil, err
	}

	out := []console.Disclosure{}
	known := map[string]console.App{}
	for _, d := range all {
		app, ok := known[d.Client]
		if !ok {
			if app, err = a.app(ctx, d.Client); err != nil {
				return nil, err
			}
			known[d.Client] = app
		}

		out = append(out, console.Disclosure{
			Client:    app.Name,
			ClientID:  d.Client,
			URI:       app.Client,
			Community: app.Community,
			Addresses: d.Addresses,
			Person:    strings.TrimSpace(d.User + " " + d.Subject),
			Purposes:  d.Purposes,
			What:      d.Types(),
			First:     d.First,
			Last:      d.Last,
			Count:     d.Count,
		})
	}
	return out, nil
}

// app returns what is known of a client; its id alone when it is registered no longer.
func (a accountant) app(ctx context.Context, id string) (console.App, error) {
	r, err := a.site.stores.Trust.Client(ctx, trace.ClientID(id))
	if err != nil {
		a.site.deps.Log.Error("a client cannot be read", "cause", err)
		return console.App{}, err
	}
	if r == nil {
		return console.App{Name: id}, nil
	}
	return appOf(r), nil
}
