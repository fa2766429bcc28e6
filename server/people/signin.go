package people

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people/users"
	"fhirdest.example/udap/trace"
)

// signInPage is what the page for signing in shows.
type signInPage struct {
	Client   *client // who asks; nil: nobody, the person came by themselves
	Request  string  // parameters of the authorization request
	Token    string
	Username string
}

// maxUsername bounds what a page shows of a username again, in bytes.
const maxUsername = 64

// showSignIn answers with the page for signing in. req is nil when the person
// came by themselves.
func (s *Service) showSignIn(c *call, req *oauth.AuthorizationRequest, status int, p signInPage, problem string) {
	title := "Sign in"
	var images []string
	if req != nil {
		described := s.describe(req.Registration, req.RedirectURI)
		p.Client, p.Request = &described, req.Query
		images = pictureOrigin(described.Logo)
		if p.Username == "" && len(req.LoginHint) <= maxUsername {
			p.Username = req.LoginHint
		}
	}

	if problem != "" {
		title = "Sign in: please check" // screen readers announce the title first
	}
	p.Token = c.visit.token("signin", p.Request)
	v := s.newView(title, c.tr, c.visit, nil)
	v.Data, v.Error = p, problem
	s.write(c.w, c.r, status, "signin", v, images...)
}

// getSignIn is for people who come by themselves, to see what they granted.
func (s *Service) getSignIn(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	who, err := s.current(r, tr)
	if err != nil {
		return s.trouble(tr, err)
	}
	if who != nil {
		s.leave(w, s.url("grants"))
		return nil
	}

	s.showSignIn(
		s.newCall(w, r, tr),
		nil,
		http.StatusOK,
		signInPage{},
		"",
	)
	return nil
}

func (s *Service) postSignIn(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	f, err := s.readForm(w, r, tr)
	if err != nil {
		return err
	}

	bound := cookie(r, s.visitCookie).bound(
		f.one("token"),
		"signin",
		f.one("request"),
	)
	c := s.newCall(w, r, tr)
	var req *oauth.AuthorizationRequest
	if query := f.one("request"); query != "" {
		if req, err = s.oauth.ParseAuthorization(r.Context(), query, tr); err != nil {
			return err
		}
	}

	username := f.one("username")
	again := signInPage{Username: username[:min(len(username), maxUsername)]}
	switch {
	case !bound:
		outdated(tr)
		s.showSignIn(
			c,
			req,
			http.StatusForbidden,
			again,
			"This page was out of date. Please try again.",
		)
	case f.one("do") == "cancel" && req != nil:
		s.leave(w, s.oauth.Decline(req, trace.AccessDenied, "the person did not sign in"))
	case f.one("do") == "switch":
		return s.switchPerson(c, req)
	default:
		return s.signIn(c, req, again, f)
	}

	return nil
}

// switchPerson ends the session and asks for another person.
func (s *Service) switchPerson(c *call, req *oauth.AuthorizationRequest) error {
	if err := s.signOut(c); err != nil {
		return err
	}
	s.showSignIn(c, req, http.StatusOK, signInPage{}, "")
	return nil
}

// signIn verifies a username and a password.
func (s *Service) signIn(c *call, req *oauth.AuthorizationRequest, again signInPage, f form) error {
	tr := c.tr
	user := s.cfg.Users().Named(f.one("username"))
	keys := s.limitKeys(c.r, f.one("username"), user)
	if wait := s.limit(keys, tr.Time); wait > 0 {
		tr.Refuse(checkRate, trace.TemporarilyUnavailable, trace.Finding{
			Expected: "fewer attempts",
			Found:    "an address or a username over its rate",
			Remedy:   "wait " + wait.String(),
		})

		c.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		s.showSignIn(c, req, http.StatusTooManyRequests, again,
			"Too many attempts. Please wait a minute, then try again.")
		return nil
	}

	good, err := s.passwords.Verify(
		c.r.Context(),
		user,
		f.one("password"),
	)
	switch {
	case errors.Is(err, users.ErrBusy):
		tr.Refuse(checkRate, trace.TemporarilyUnavailable, trace.Finding{
			Found: err.Error(),
			Err:   err,
		})
		c.w.Header().Set("Retry-After", "2")
		s.showSignIn(c, req, http.StatusServiceUnavailable, again,
			"Many people are signing in right now. Please try again in a moment.")

		return nil

	case err != nil:
		return s.trouble(tr, err)

	case !good:
		tr.Refuse(checkPassword, trace.AccessDenied, trace.Finding{
			Expected: "the username and password of a person who may sign in",
			Found:    "others",
		})
		s.showSignIn(
			c,
			req,
			http.StatusForbidden,
			again,
			"The username or the password is not right.",
		)
		return nil
	}

	tr.Pass(
		checkPassword,
		"the password of the person",
		user.Subject,
	)
	s.perUser.Forget(keys.user)
	s.perAddress.Refund(keys.address)
	return s.welcome(c, req, user)
}

// welcome starts the session of a person whose password was right, and goes on.
func (s *Service) welcome(c *call, req *oauth.AuthorizationRequest, user *users.User) error {
	who, err := s.start(
		c.w,
		c.r,
		user,
		oauth.Person{},
		c.tr,
	)
	if err != nil {
		return err
	}

	s.rememberDevice(c.w, user)
	if req == nil {
		s.leave(c.w, s.url("grants"))
		return nil
	}

	s.goOn(c.w, who, req.Query)
	return nil
}

// goOn continues with an authorization request after its person has signed in.
// The token shows the next page that this was for this very request, so that
// prompt=login does not ask again.
func (s *Service) goOn(w http.ResponseWriter, who *signedIn, query string) {
	s.leave(w, s.url("consent")+"?"+url.Values{
		"request": {query},
		"fresh":   {freshToken(who, query)},
	}.Encode())
}

func freshToken(who *signedIn, query string) string {
	return secret(who.ID[:]).token("fresh", query)
}

// limitKeys are the parties that an attempt counts for.
type limitKeys struct{ address, user string }

// limitKeys returns the parties for an attempt. A username has a rate for each
// address, so that nobody can lock a person out from elsewhere. A browser in which
// the person has signed in before has a rate of its own, for the case that all
// browsers seem to have one address, as behind an intermediary that does not name it.
func (s *gate) limitKeys(r *http.Request, username string, user *users.User) limitKeys {
	address := s.cfg.Address(r)
	k := limitKeys{
		address: address,
		user:    address + " " + strings.ToLower(username[:min(len(username), maxUsername)]),
	}
	if d := cookie(r, s.deviceCookie); user != nil && d != nil && s.knows(d, user) {
		k = limitKeys{
			address: "device " + d.String(),
			user:    "device " + d.String() + " " + user.Subject,
		}
	}

	return k
}

func (s *gate) limit(k limitKeys, now time.Time) time.Duration {
	if wait := s.perUser.Acquire(k.user, now); wait > 0 {
		return wait
	}
	return s.perAddress.Acquire(k.address, now)
}

// signOut ends the browser's session, and forms of pages that it has open.
func (s *sessions) signOut(c *call) error {
	who, err := s.current(c.r, c.tr)
	if err != nil {
		return s.trouble(c.tr, err)
	}
	if old := cookie(c.r, s.sessionCookie); old != nil {
		if err := s.endOf(c.r.Context(), sessionID(old)); err != nil {
			return s.trouble(c.tr, err)
		}
	}

	if who != nil {
		c.tr.Effect = trace.SignedOut
	}
	setCookie(c.w, s.sessionCookie, nil)
	c.visit = newSecret()
	setCookie(c.w, s.visitCookie, c.visit)
	return nil
}

// getSignOut shows that nobody is signed in, or asks.
func (s *Service) getSignOut(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	who, err := s.current(r, tr)
	if err != nil {
		return s.trouble(tr, err)
	}

	c := s.newCall(w, r, tr)
	s.write(
		w,
		r,
		http.StatusOK,
		"signout",
		s.newView("Sign out", tr, c.visit, who),
	)
	return nil
}

func (s *Service) postSignOut(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	f, err := s.readForm(w, r, tr)
	if err != nil {
		return err
	}

	who, err := s.current(r, tr)
	if err != nil {
		return s.trouble(tr, err)
	}

	c := s.newCall(w, r, tr)
	if who != nil && !c.visit.bound(f.one("token"), "signout", who.Subject) {
		outdated(tr)
		s.write(
			w,
			r,
			http.StatusForbidden,
			"signout",
			s.newView("Sign out", tr, c.visit, who),
		)
		return nil
	}
	if err := s.signOut(c); err != nil {
		return err
	}

	s.leave(w, s.url("signout"))
	return nil
}
