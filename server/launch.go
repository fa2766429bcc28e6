package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
	"fhirdest.example/server/console"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// Bounds of what the page for launches offers to choose from.
const (
	maxApps     = 200
	maxPatients = 50
)

var checkLaunched = trace.NewCheck("launch.stored", "A launch is stored for an app and a patient", "")

// launcher opens apps from the console as an EHR does. It implements
// console.Launcher.
type launcher struct{ site *Site }

// Apps implements console.Launcher.
func (l launcher) Apps(ctx context.Context) (apps []console.App, err error) {
	always := time.Unix(1<<40, 0)
	err = l.site.stores.Trust.Expiring(ctx, always, func(r *oauth.Registration) bool {
		if slices.Contains(r.Granted.GrantTypes, "authorization_code") {
			apps = append(apps, appOf(r))
		}
		return len(apps) < maxApps
	})
	if err != nil {
		l.site.deps.Log.Error("the clients cannot be read", "cause", err)
	}

	slices.SortStableFunc(
		apps,
		func(a, b console.App) int {
			return strings.Compare(a.Name, b.Name)
		},
	)
	return apps, err
}

func appOf(r *oauth.Registration) console.App {
	return console.App{
		ClientID:  r.ID,
		Name:      r.Granted.ClientName,
		Client:    string(r.Client),
		Community: string(r.Community),
	}
}

// Patients implements console.Launcher. It names patients by their ids alone: the
// console shows no data of theirs.
func (l launcher) Patients(ctx context.Context) (ids []string, err error) {
	err = l.site.stores.Resources.View(ctx, func(sn fhir.Snapshot) error {
		ids = nil
		parser := search.Parser{Now: l.site.deps.Now}
		q, err := parser.Parse(ctx, []string{"Patient"}, nil, true)
		if err != nil {
			return err
		}

		all := func(string) search.Filter {
			return search.Everything()
		}
		found, err := search.NewFinder(ctx, sn, all, all).Find(q)
		if err != nil {
			return err
		}

		docs := found.Docs[:min(len(found.Docs), maxPatients)]
		return sn.Entries(ctx, docs, func(e fhir.Entry) bool {
			if !e.Deleted {
				ids = append(ids, e.ID)
			}
			return true
		})
	})
	if err != nil {
		l.site.deps.Log.Error("the patients cannot be read", "cause", err)
	}

	return ids, err
}

// Launch implements console.Launcher.
func (l launcher) Launch(
	ctx context.Context, r console.LaunchRequest,
) (*console.Launched, error) {
	err := l.look(ctx, r)
	var handle string
	var expires time.Time
	if err == nil {
		handle, expires, err = l.site.oauth.StartLaunch(ctx, oauth.Launch{
			ClientID:  r.ClientID,
			Patient:   r.Patient,
			Encounter: r.Encounter,
		})
	}

	var problem *console.LaunchProblem
	switch {
	case errors.Is(err, oauth.ErrNoRegistration):
		return nil, &console.LaunchProblem{
			Field: "client",
			Text:  "This app is not registered for people.",
		}
	case errors.Is(err, oauth.ErrTooManyLaunches):
		return nil, &console.LaunchProblem{
			Field: "client",
			Text:  "Too many launches are under way. Try again in a few minutes.",
		}
	case errors.As(err, &problem):
		return nil, err

	case err != nil:
		l.site.deps.Log.Error("a launch could not be stored", "cause", err)
		return nil, err
	}

	app, err := l.site.stores.Trust.Client(ctx, r.ClientID)
	if err != nil || app == nil {
		return nil, errors.Join(err, errors.New("server: the app was cancelled meanwhile"))
	}
	l.record(r, app)

	return &console.Launched{
		App:       appOf(app),
		Patient:   r.Patient,
		Encounter: r.Encounter,
		Handle:    handle,
		Issuer:    l.site.cfg.Public,
		Expires:   expires,
	}, nil
}

// record records a launch.
func (l launcher) record(r console.LaunchRequest, app *oauth.Registration) {
	tr := trace.NewTrace("launch", l.site.deps.Now())
	tr.Community, tr.Client, tr.ClientID = app.Community, app.Client, app.ID
	tr.Effect, tr.Patient = trace.Launched, r.Patient
	tr.Pass(checkLaunched, "an app and a patient that are there", "stored for patient "+r.Patient)
	l.site.decisions.Record(tr)
}

// look reports what of the context is not there.
func (l launcher) look(ctx context.Context, r console.LaunchRequest) error {
	return l.site.stores.Resources.View(ctx, func(sn fhir.Snapshot) error {
		if _, there, err := sn.Find(ctx, "Patient", r.Patient); err != nil || !there {
			return errors.Join(
				err,
				notThere(err, "patient", "There is no patient with this id."),
			)
		}
		if r.Encounter == "" {
			return nil
		}

		doc, there, err := sn.Find(ctx, "Encounter", r.Encounter)
		if err != nil || !there {
			return errors.Join(
				err,
				notThere(err, "encounter", "There is no encounter with this id."),
			)
		}

		body, err := sn.Body(ctx, doc)
		if err != nil {
			return err
		}

		var encounter struct {
			Subject struct {
				Reference string `json:"reference"`
			} `json:"subject"`
		}
		_ = json.Unmarshal(body, &encounter) // of a resource that was validated when it was stored
		subject := encounter.Subject.Reference
		if subject != "Patient/"+r.Patient && subject != l.site.cfg.Public+"/Patient/"+r.Patient {
			return notThere(nil, "encounter", "This encounter is of another patient.")
		}
		return nil
	})
}

// notThere returns a mistake of the request, unless something else is to blame.
func notThere(err error, field, text string) error {
	if err != nil {
		return nil
	}
	return &console.LaunchProblem{
		Field: field,
		Text:  text,
	}
}
