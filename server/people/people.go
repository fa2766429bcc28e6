package people

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/rate"
	"fhirdest.example/udap/trace"
)

// Config is what a Service needs. Issuer, Users, Store, Records, Log and Now are
// required.
type Config struct {
	Issuer string // the authorization server's URL: every page is below it
	Name   string // of whoever runs the server, shown to people; default: the issuer's host
	Role   string // a word in the names of cookies; default "destination"

	Users    func() *users.Directory // those who can sign in at present
	Store    Store
	Records  Records
	Patients Patients // nil: there is no patient to choose

	// Community returns the name of a trust community; nil: its URI is shown.
	Community func(trace.CommunityURI) string
	// Elsewhere sends people to another identity provider; nil: everybody signs in here.
	Elsewhere Elsewhere

	TokenLifetime time.Duration // of access tokens, shown to people; 0: it is not shown

	Explain oauth.Explain      // whether pages show the reasons of a refusal
	Record  func(*trace.Trace) // gets the trace of every decision; nil: they are dropped
	Log     *slog.Logger
	Now     func() time.Time
	Address func(*http.Request) string // the party that limits per address count
	Limits  Limits

	// Counted is another Service for the same people, with which attempts to sign in
	// are counted together; nil: they are counted here alone.
	Counted *Service
}

// Limits are rates a minute of passwords that are tried and wrong; 0 means the default.
type Limits struct {
	SignInsPerAddress int // from one address, for whatever usernames; default 300
	SignInsPerUser    int // for one username, from one address or one browser; default 10
}

// Records are what pages read and take back of the authorization server's
// records.
type Records interface {
	Client(ctx context.Context, id trace.ClientID) (*oauth.Registration, error)
	Grants(ctx context.Context, subject string) ([]*oauth.Grant, error)
	Withdraw(ctx context.Context, id oauth.GrantID, subject string) error
	EndSession(ctx context.Context, subject, session string) error
}

// Patients finds patients.
type Patients interface {
	// Patient returns a patient, or nil when there is none of this id.
	Patient(ctx context.Context, id string) (*Patient, error)
	// Search returns the patients whose name, birth date or identifier is as
	// written, at most n, and whether there are more.
	Search(ctx context.Context, text string, n int) (found []Patient, more bool, err error)
}

// Patient is what pages show of a patient. Everything may be empty but ID.
type Patient struct {
	ID         string
	Name       string
	BirthDate  string // as in FHIR
	Sex        string // a code of FHIR's administrative gender
	Identifier string // a number by which staff know the patient
}

// Elsewhere signs people in at another identity provider (Tiered OAuth). When it
// has done so it calls Service.SignedIn.
type Elsewhere interface {
	// Begin answers with a redirect to the provider that a request names, or to
	// the client with an error. It returns false when there is nothing for it to
	// do: then people sign in here.
	Begin(w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest) bool
}

// Service asks persons. It implements oauth.Interaction.
type Service struct {
	*shell
	sessions
	gate
	finder

	oauth *oauth.Service
}

// shell is the HTTP side of the pages: forms in, pages out.
type shell struct {
	cfg    Config
	origin string // of the issuer, as browsers write it
}

// sessions are who is signed in, by the cookies of their browsers.
type sessions struct {
	*shell
	visitCookie   string
	sessionCookie string
}

// gate bounds and verifies the passwords that are tried.
type gate struct {
	*shell
	deviceCookie string
	passwords    *users.Passwords
	perAddress   *rate.Limiter
	perUser      *rate.Limiter
}

// finder finds the patients of a person.
type finder struct{ *shell }

// New returns a Service. It answers requests after Use. Its error joins everything
// that is wrong with the Config.
func New(cfg Config) (*Service, error) {
	var faults []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("people: "+format, args...))
		}
	}

	issuer, err := url.Parse(cfg.Issuer)
	complain(
		err != nil || issuer.Scheme != "https" || issuer.Host == "",
		"the issuer %q is no https URL",
		cfg.Issuer,
	)
	complain(cfg.Users == nil, "no users")
	complain(cfg.Store == nil || cfg.Records == nil, "no store")
	complain(cfg.Now == nil || cfg.Log == nil, "no clock or no log")
	complain(cfg.Limits.SignInsPerAddress < 0 || cfg.Limits.SignInsPerUser < 0, "a limit is negative")
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}

	cfg = cfg.withDefaults(issuer)
	// Cookies know neither port nor path: the names carry the role of the server
	// and which one it is.
	digest := sha256.Sum256([]byte(cfg.Issuer))
	named := func(what string) string {
		return "__Host-" + cfg.Role + "-" + what + "-" + hex.EncodeToString(digest[:4])
	}
	perAddress, perUser := rate.New(cfg.Limits.SignInsPerAddress), rate.New(cfg.Limits.SignInsPerUser)
	if cfg.Counted != nil {
		perAddress, perUser = cfg.Counted.perAddress, cfg.Counted.perUser
	}
	sh := &shell{
		cfg:    cfg,
		origin: issuer.Scheme + "://" + issuer.Host,
	}

	return &Service{
		shell: sh,
		sessions: sessions{
			shell:         sh,
			visitCookie:   named("visit"),
			sessionCookie: named("session"),
		},
		gate: gate{
			shell:        sh,
			deviceCookie: named("device"),
			passwords:    users.NewPasswords(),
			perAddress:   perAddress,
			perUser:      perUser,
		},
		finder: finder{sh},
	}, nil
}

func (c Config) withDefaults(issuer *url.URL) Config {
	if c.Name == "" {
		c.Name = issuer.Hostname()
	}
	if c.Role == "" {
		c.Role = "destination"
	}
	if c.Community == nil {
		c.Community = func(uri trace.CommunityURI) string { return string(uri) }
	}

	if c.Record == nil {
		c.Record = func(*trace.Trace) {}
	}
	if c.Address == nil {
		c.Address = func(r *http.Request) string { return r.RemoteAddr }
	}
	if c.Limits.SignInsPerAddress == 0 {
		c.Limits.SignInsPerAddress = 300
	}

	if c.Limits.SignInsPerUser == 0 {
		c.Limits.SignInsPerUser = 10
	}
	return c
}

// Use gives the Service the authorization server for which it asks. It must be
// called once, before the first request.
func (s *Service) Use(a *oauth.Service) { s.oauth = a }

// Routes mounts the pages by their public URLs.
func (s *Service) Routes(mount func(url string, h http.Handler)) {
	mount(s.url("signin"), s.page("signin", methods{
		http.MethodGet:  s.getSignIn,
		http.MethodPost: s.postSignIn,
	}))
	mount(s.url("consent"), s.page("consent", methods{
		http.MethodGet:  s.getConsent,
		http.MethodPost: s.postConsent,
	}))

	mount(s.url("grants"), s.page("grants", methods{
		http.MethodGet:  s.getGrants,
		http.MethodPost: s.postGrants,
	}))
	mount(s.url("signout"), s.page("signout", methods{
		http.MethodGet:  s.getSignOut,
		http.MethodPost: s.postSignOut,
	}))

	mount(s.url(styleName), http.HandlerFunc(s.style))
}

// url returns the URL of a page.
func (s *shell) url(page string) string { return s.cfg.Issuer + "/" + page }

// Reach implements oauth.Interaction: a person who is no longer in the users file
// has no access, and a grant that ends with a session has no effect when that is over,
// whether or not the browser ever came back.
func (s *Service) Reach(ctx context.Context, g *oauth.Grant) (oauth.Reach, error) {
	u := s.cfg.Users().Subject(g.Person.Subject)
	if u == nil {
		return oauth.Reach{}, nil
	}

	over, err := s.isOver(ctx, g.Session, u)
	if err != nil {
		return oauth.Reach{}, err
	}

	return oauth.Reach{
		Enabled:     true,
		SignedOut:   over,
		AllPatients: u.Clinician(),
		Patients:    u.OwnPatients(),
	}, nil
}
