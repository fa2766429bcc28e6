package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	"fhirdest.example/udap/trace"
	"github.com/go-json-experiment/json/jsontext"
)

// launchLifetime is how long an app can use a launch after it was handed out: as
// long as a person may need to sign in and to decide.
const launchLifetime = 10 * time.Minute

// MaxLaunches bounds the launches that a store keeps until they are used or expire.
const MaxLaunches = 1000

// Launch is the context in which somebody opens an app from an EHR (SMART App Launch
// 2.2, EHR launch). The app gets a handle, sends it as the parameter launch, and
// gets the context with its token. A launch is for one app and is used once.
type Launch struct {
	Hash      Hash           `json:"hash"` // of the handle's secret
	ClientID  trace.ClientID `json:"clientId"`
	Patient   string         `json:"patient"`            // id of a Patient
	Encounter string         `json:"encounter,omitzero"` // id of an Encounter of that patient; empty: none
	Expires   time.Time      `json:"expires"`

	handle Handle // by which the store finds it; of those that a request names
}

// Handle returns the handle by which a store finds a launch that a request names.
func (l *Launch) Handle() Handle { return l.handle }

// LaunchStore keeps launches. A used one is removed by GrantStore.Approve.
type LaunchStore interface {
	// AddLaunch stores a launch and returns its handle. It returns
	// ErrTooManyLaunches when there are MaxLaunches that have not expired.
	AddLaunch(ctx context.Context, l Launch, now time.Time) (Handle, error)

	// Launch returns the launch with a handle and hash, or nil. It does not look
	// at expiry.
	Launch(ctx context.Context, h Handle, hash Hash) (*Launch, error)
}

// Errors of a LaunchStore and of Approve.
var (
	ErrTooManyLaunches = errors.New("too many launches are under way")
	ErrNoLaunch        = errors.New("the launch was used before, or has expired")
)

var checkLaunch = trace.NewCheck("authorize.launch",
	"launch is a handle of this client that was not used before, and comes with the scope launch", "")

// scopeLaunch asks for the context of an EHR launch (SMART App Launch 2.2).
const scopeLaunch = "launch"

// StartLaunch stores a launch and returns the text to send as the parameter launch,
// with the time until which it can be used. The client must be registered for
// authorization_code, and patient and encounter must have been looked up. It
// returns ErrNoRegistration for any other client.
func (s *Service) StartLaunch(ctx context.Context, l Launch) (text string, expires time.Time, err error) {
	r, err := s.cfg.Store.Client(ctx, l.ClientID)
	switch {
	case err != nil:
		return "", expires, err
	case r == nil || !slices.Contains(r.Granted.GrantTypes, authorizationCode):
		return "", expires, ErrNoRegistration
	}

	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (Go 1.24)
	now := s.cfg.Now()
	l.Hash, l.Expires = sha256.Sum256(secret[:]), now.Add(launchLifetime).Truncate(time.Second)
	h, err := s.cfg.Store.AddLaunch(ctx, l, now)
	if err != nil {
		return "", expires, err
	}

	return tokenText(h, secret), l.Expires, nil
}

// launch finds the launch that a request names. Without one the scope launch has no
// meaning, and without that scope the parameter has none: either is left out
// with a warning, and the person chooses the patient.
func (a *authorization) launch(ctx context.Context) error {
	text, asked := a.params["launch"], slices.Contains(a.out.Scope, scopeLaunch)
	switch {
	case text == "" && !asked:
		return nil

	case text == "" && len(a.out.Scope) == 1:
		return a.tr.Refuse(checkLaunch, trace.InvalidScope, trace.Finding{
			Expected: "a scope beside launch, or the parameter launch",
			Found:    "the scope launch alone",
		})

	case text == "":
		a.out.Scope = slices.DeleteFunc(slices.Clone(a.out.Scope), func(t string) bool { return t == scopeLaunch })
		a.tr.Warn(checkLaunch, trace.Finding{
			Expected: "launch, the handle that the EHR gave, beside the scope launch",
			Found:    "the scope alone",
			Remedy:   "the scope was left out; ask for launch/patient where no EHR launches the app",
		})
		return nil

	case !asked:
		a.tr.Warn(checkLaunch, trace.Finding{
			Expected: "the scope launch beside the parameter launch",
			Found:    "the parameter alone",
			Remedy:   "the launch was ignored; register and ask for the scope launch",
		})
		return nil
	}

	found, err := a.findLaunch(ctx, text)
	if err != nil {
		return err
	}

	a.out.EHR = found
	a.tr.Pass(checkLaunch, "a launch of this client", "one for the patient "+found.Patient)
	return nil
}

// useLaunch makes a grant use up the launch of its request, and gives it the
// launch's context if the person agreed to it.
func useLaunch(g *Grant, r *AuthorizationRequest) error {
	l := r.EHR
	if l == nil {
		return nil
	}

	g.Uses = l.handle
	if !slices.Contains(g.Scope, scopeLaunch) {
		return nil
	}
	if g.Patient != l.Patient {
		return errApproval
	}
	if l.Encounter == "" {
		return nil
	}

	text, err := jsontext.AppendQuote(nil, l.Encounter)
	if err != nil {
		return err
	}
	g.Launch = maps.Clone(g.Launch)
	if g.Launch == nil {
		g.Launch = map[string]jsontext.Value{}
	}
	g.Launch["encounter"] = text
	return nil
}

func (a *authorization) findLaunch(ctx context.Context, text string) (*Launch, error) {
	why := "a text that is no handle of this server"
	h, hash, ok := parseToken(text)
	if ok {
		l, err := a.service.cfg.Store.Launch(ctx, h, hash)
		switch {
		case err != nil:
			return nil, trouble(a.tr, err)
		case l == nil:
			why = "one that is unknown, or was used before"
		case !a.tr.Time.Before(l.Expires):
			why = "one that has expired"
		case l.ClientID != a.out.Registration.ID:
			why = "a launch of another client"
		default:
			found := *l
			found.handle = h
			return &found, nil
		}
	}

	return nil, a.refuse(checkLaunch, "a launch of this client that was not used before", why,
		"let the EHR launch the app again: a launch is used once, and lives "+launchLifetime.String())
}
