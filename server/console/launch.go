package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap/trace"
)

// Launcher opens apps as an EHR does (SMART App Launch 2.2, EHR launch).
type Launcher interface {
	// Apps returns the clients that are registered for people, by name.
	Apps(ctx context.Context) ([]App, error)

	// Patients returns the ids of some patients, to choose from.
	Patients(ctx context.Context) ([]string, error)

	// Launch stores a launch. Its error is a *LaunchProblem if the request is to
	// blame.
	Launch(ctx context.Context, r LaunchRequest) (*Launched, error)
}

// App is a client that people can use.
type App struct {
	ClientID  trace.ClientID `json:"clientId"`
	Name      string         `json:"name"`
	Client    string         `json:"client"`
	Community string         `json:"community"`
}

// LaunchRequest names what to open, and in which context.
type LaunchRequest struct {
	ClientID  trace.ClientID
	Patient   string // id, or Patient/id
	Encounter string // id, or Encounter/id; empty: none
}

// Launched is a launch that was stored.
type Launched struct {
	App       App       `json:"app"`
	Patient   string    `json:"patient"`
	Encounter string    `json:"encounter,omitempty"`
	Handle    string    `json:"launch"`
	Issuer    string    `json:"iss"` // the FHIR base URL, as SMART names the parameter
	Expires   time.Time `json:"expires"`
	URL       string    `json:"url,omitempty"` // of the app, with both parameters; empty: not known
}

// LaunchProblem is a mistake in a LaunchRequest.
type LaunchProblem struct {
	Field string // patient, encounter, client or url
	Text  string
}

func (p *LaunchProblem) Error() string { return p.Text }

// launchPage is what the page shows.
type launchPage struct {
	Apps     []App
	Patients []string
	Chosen   LaunchRequest
	URL      string
	Problem  *LaunchProblem
	Done     *Launched
}

// maxLaunchForm bounds the form, in bytes.
const maxLaunchForm = 16 << 10

func (c *console) launchForm(w http.ResponseWriter, r *http.Request) {
	c.showLaunch(w, r, http.StatusOK, launchPage{})
}

// launch stores a launch and shows its handle, once: it is a secret of the app.
func (c *console) launch(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLaunchForm)
	if err := r.ParseForm(); err != nil {
		fail(w, r, http.StatusBadRequest, "the form cannot be read")
		return
	}
	if c.Launcher == nil {
		fail(
			w,
			r,
			http.StatusNotFound,
			"no people are configured, so no app can be launched for them",
		)
		return
	}

	p := launchPage{
		Chosen: LaunchRequest{
			ClientID:  trace.ClientID(r.PostForm.Get("client")),
			Patient:   strings.TrimPrefix(strings.TrimSpace(r.PostForm.Get("patient")), "Patient/"),
			Encounter: strings.TrimPrefix(strings.TrimSpace(r.PostForm.Get("encounter")), "Encounter/"),
		},
		URL: strings.TrimSpace(r.PostForm.Get("url")),
	}

	base, err := launchURL(p.URL)
	if err == nil {
		p.Done, err = c.Launcher.Launch(r.Context(), p.Chosen)
	}
	if err != nil && !errors.As(err, &p.Problem) {
		c.unread(w, r, "the launch could not be stored; the log says why")
		return
	}

	if p.Problem != nil {
		c.showLaunch(w, r, http.StatusBadRequest, p)
		return
	}

	if base != nil {
		q := base.Query()
		q.Set("iss", p.Done.Issuer)
		q.Set("launch", p.Done.Handle)
		base.RawQuery = q.Encode()
		p.Done.URL = base.String()
	}
	c.showLaunch(w, r, http.StatusOK, p)
}

// launchURL parses the address at which an app is opened; nil for none.
func launchURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}

	u, err := url.Parse(text)
	secure := err == nil && (u.Scheme == "https" || u.Scheme == "http" && netname.Loopback(u.Hostname()))
	if !secure || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, &LaunchProblem{
			Field: "url",
			Text:  "Write an https address, or an http one at localhost.",
		}
	}
	return u, nil
}

// showLaunch answers with the form or what came of it: a page for browsers, JSON
// for programs.
func (c *console) showLaunch(
	w http.ResponseWriter, r *http.Request, status int, p launchPage,
) {
	switch {
	case !wantsHTML(r) && p.Problem != nil:
		fail(w, r, status, p.Problem.Field+": "+p.Problem.Text)
		return
	case !wantsHTML(r) && p.Done != nil:
		reply(w, r, status, p.Done)
		return
	}

	if c.Launcher != nil && p.Done == nil {
		var errs [2]error
		p.Apps, errs[0] = c.Launcher.Apps(r.Context())
		p.Patients, errs[1] = c.Launcher.Patients(r.Context())
		if err := errors.Join(errs[:]...); err != nil {
			c.unread(w, r, "the stored records cannot be read; the log says why")
			return
		}
	}

	if !wantsHTML(r) {
		reply(w, r, status, struct {
			Apps     []App    `json:"apps"`
			Patients []string `json:"patients"`
		}{p.Apps, p.Patients})
		return
	}
	c.htmlStatus(w, r, status, "launch", p)
}
