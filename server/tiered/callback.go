package tiered

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people/users"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// callback answers a browser that comes back from a provider.
func (s *Service) callback(p *provider) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr := trace.NewTrace("callback", s.cfg.Now())
		tr.Address = oauth.PeerAddress(r)
		defer s.cfg.Record(tr)
		h := w.Header()
		h.Set("Trace-Id", tr.ID)
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")

		a := &arrival{
			provider: p,
			w:        w,
			r:        r,
			tr:       tr,
		}
		if err := a.serve(); err != nil {
			a.answer(err)
		}
	})
}

// arrival is a browser that has come back.
type arrival struct {
	*provider
	w  http.ResponseWriter
	r  *http.Request
	tr *trace.Trace

	trip   *Trip
	secret secret
	req    *oauth.AuthorizationRequest // the client's; nil until its trip is known
	link   *link
}

// answer writes a refusal: to the client when it is known whose trip it is, else on
// a page.
func (a *arrival) answer(err error) {
	s := a.provider.service
	var redirect *oauth.RedirectRefusal
	var refusal *trace.Error
	switch {
	case errors.As(err, &redirect):
		oauth.SeeOther(a.w, redirect.Location)
	case a.req != nil && errors.As(err, &refusal):
		oauth.SeeOther(a.w, oauth.Refused(s.oauth, a.req, refusal))
	default:
		s.people.Refuse(a.w, a.r, oauth.RefusalOf(err), a.tr)
	}
}

func (a *arrival) serve() error {
	if a.r.Method != http.MethodGet {
		return &oauth.Refusal{
			Of: a.tr.Refuse(checkMethod, trace.InvalidRequest, trace.Finding{
				Expected: http.MethodGet,
				Found:    a.r.Method,
			}),
			Status: http.StatusMethodNotAllowed,
			Header: http.Header{"Allow": {http.MethodGet}},
		}
	}

	for _, step := range []func() error{a.findTrip, a.connect} {
		if err := step(); err != nil {
			return err
		}
	}

	ctx, cancel := context.WithTimeout(a.r.Context(), patience)
	defer cancel()
	code, err := a.code()
	if err != nil {
		return err
	}

	id, claims, err := a.identify(ctx, code)
	if err != nil {
		return err
	}

	user, err := a.user(ctx, id, claims)
	if err != nil {
		return err
	}
	return a.signIn(user, id)
}

// findTrip ends the trip that the browser's cookie and the state name, and parses
// the client's request anew: client and community may have changed meanwhile.
func (a *arrival) findTrip() error {
	states := a.r.URL.Query()["state"]
	name, state := "", ""
	if len(states) == 1 {
		state = states[0]
		name = a.cookieName(state)
	}

	c, err := a.r.Cookie(name)
	if err != nil {
		if c = a.onlyCookie(a.r); c == nil {
			return a.lost("a state of no sign-in that this browser began")
		}
	}

	if err := a.endTrip(c); err != nil {
		return err
	}

	req, err := a.provider.service.oauth.ParseAuthorization(
		a.r.Context(),
		a.trip.Query,
		a.tr,
	)
	if err != nil {
		return err
	}

	a.req = req

	sum := sha256.Sum256([]byte(state))
	switch now := a.provider.service.cfg.Now(); {
	case subtle.ConstantTimeCompare(sum[:], a.trip.State[:]) != 1:
		return a.foreign("the state that was sent", "another one, or none")
	case a.trip.Provider != a.Base:
		return a.foreign("an answer of "+a.trip.Provider, "one of "+a.Base)
	case !now.Before(a.trip.Expires):
		return a.foreign("an answer until "+trace.Stamp(a.trip.Expires), "one at "+trace.Stamp(now))
	}

	a.tr.Pass(
		checkTrip,
		"the state that was sent, once, in the same browser",
		"it is",
	)
	return nil
}

// lost is a refusal of an answer that belongs to nothing that is known.
func (a *arrival) lost(found string) error {
	return a.tr.Refuse(checkTrip, trace.InvalidRequest, trace.Finding{
		Expected: "the answer to a sign-in that this browser began",
		Found:    found,
		Remedy:   "go back to the application and begin anew",
	})
}

// foreign ends a trip whose answer is not its own (UDAP Tiered OAuth 4.1).
func (a *arrival) foreign(expected, found string) error {
	return a.tr.Refuse(checkTrip, trace.ServerError, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   "begin anew",
	})
}

// endTrip ends the trip of a cookie. No second answer finds it.
func (a *arrival) endTrip(c *http.Cookie) error {
	setCookie(a.w, c.Name, "")
	value, expires, ok := parseCookie(c.Value)
	if !ok {
		return a.lost("a cookie that is not of this server")
	}

	s := a.provider.service
	trip, err := s.cfg.Store.EndTrip(a.r.Context(), value.id(), expires)
	if err != nil {
		return s.trouble(a.tr, err)
	}
	if trip == nil {
		return a.lost("a sign-in that was answered before, or is long over")
	}

	a.trip, a.secret = trip, value
	return nil
}

func (a *arrival) connect() error {
	l, fault := a.provider.link(a.r.Context(), a.tr)
	if fault != nil {
		return fault
	}
	a.link = l
	return nil
}

// code returns the code of the answer.
func (a *arrival) code() (string, error) {
	state := a.r.URL.Query().Get("state")
	back, err := client.ReadRedirect(
		a.r.URL.RawQuery,
		state,
		a.link.openid.Issuer,
		a.link.openid.AnnouncesIssuer,
		a.tr,
	)
	switch {
	case err != nil:
		return "", a.foreign("an answer of "+a.Base+" to this request", detail(err))
	case back.Refusal != nil:
		// UDAP Tiered OAuth 4.2. The provider's own words go to nobody but the operator.
		return "", a.tr.Refuse(checkAnswer, trace.AccessDenied, trace.Finding{
			Expected: "a code",
			Found:    "the error " + word(string(back.Refusal.Code)),
			Remedy:   "the person did not sign in at " + a.Base,
		})
	}

	a.tr.Pass(checkAnswer, "a code", "one")
	return back.Code, nil
}

// word returns a code of a provider if it is one, so that nothing else of it is
// shown.
func word(code string) string {
	const most = 40
	if len(code) > most || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "with a text that is no code"
	}
	return code
}

// identify exchanges the code and verifies the ID token. It returns the claims by
// which a person who is not linked may be found.
func (a *arrival) identify(ctx context.Context, code string) (*client.IDToken, map[string]string, error) {
	s := a.provider.service
	token, err := a.link.client.Exchange(ctx, a.link.found, client.CodeRequest{
		ClientID:    a.trip.ClientID,
		Code:        code,
		RedirectURI: a.redirectURI,
		Verifier:    a.secret.derive("verifier"),
		Scope:       a.link.scope,
	})
	s.cfg.Record(token.Trace)
	if err != nil {
		if token.Refusal != nil && token.Refusal.Code == trace.InvalidClient {
			err = errors.Join(err, a.forget(ctx, a.trip.ClientID))
		}
		return nil, nil, a.refuse(a.tr, checkCode, err)
	}

	a.tr.Pass(checkCode, "tokens", "an ID token: "+yesNo(token.IDToken != ""))

	maxAge := time.Duration(-1)
	if a.req.MaxAge != nil {
		maxAge = time.Duration(*a.req.MaxAge) * time.Second
	}
	id, err := a.link.client.VerifyIDToken(ctx, a.link.openid, token.IDToken, client.ExpectIDToken{
		ClientID: a.trip.ClientID,
		Nonce:    a.secret.derive("nonce"),
		Access:   token.Access,
		MaxAge:   maxAge,
	}, a.tr)
	if err != nil {
		return nil, nil, a.refuse(a.tr, checkIDToken, err)
	}

	a.tr.Pass(checkIDToken, "", id.Issuer+", "+id.Subject)

	claims, err := a.claims(ctx, token, id)
	return id, claims, err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// claims returns the claims that a person is found by. userinfo is asked only for a
// person who is not linked, where a rule says by what to find them.
func (a *arrival) claims(ctx context.Context, token *client.Token, id *client.IDToken) (map[string]string, error) {
	s := a.provider.service
	if len(a.Match) == 0 || s.cfg.Match == nil || s.cfg.Users().At(id.Issuer, id.Subject) != nil {
		return nil, nil
	}

	claims := map[string]string{}
	for _, name := range a.Match {
		claims[name] = id.Text(name)
	}
	if !slices.Contains(slices.Collect(maps.Values(claims)), "") {
		return claims, nil
	}

	info, err := a.link.client.UserInfo(
		ctx,
		a.link.openid,
		token.Access,
		id.Subject,
	)
	s.cfg.Record(info.Trace)
	if err != nil {
		return nil, a.refuse(a.tr, checkIDToken, err)
	}

	for _, name := range a.Match {
		if text := info.Text(name); claims[name] == "" {
			claims[name] = text
		}
	}

	return claims, nil
}

// user returns the user here who the person is: the one who is linked to the pair of
// iss and sub, or else the only one whom the provider's claims fit. An e-mail address
// never links anybody.
func (a *arrival) user(ctx context.Context, id *client.IDToken, claims map[string]string) (*users.User, error) {
	s := a.provider.service
	if u := s.cfg.Users().At(id.Issuer, id.Subject); u != nil {
		a.tr.Pass(checkUser, "one user", "linked to this account: "+u.Subject)
		return u, nil
	}

	unknown := func(found string) error {
		return a.tr.Refuse(checkUser, trace.AccessDenied, trace.Finding{
			Expected: "a user who is linked to the account " + id.Subject + " at " + id.Issuer,
			Found:    found,
			Remedy:   "the operator links accounts under identities: of the users file",
		})
	}

	if len(claims) == 0 {
		return nil, unknown("none")
	}

	for _, name := range a.Match {
		if claims[name] == "" {
			return nil, unknown("none, and no claim " + name + " to find one by")
		}
	}

	subjects, err := s.cfg.Match(ctx, claims)
	if err != nil {
		return nil, s.trouble(a.tr, err)
	}
	if len(subjects) != 1 {
		return nil, unknown("none, and not exactly one whom " + strings.Join(a.Match, ", ") + " fit")
	}

	u := s.cfg.Users().Subject(subjects[0])
	if u == nil || slices.ContainsFunc(u.Identities, func(i users.Identity) bool { return i.Issuer == id.Issuer }) {
		return nil, unknown("one who is linked to another account there")
	}

	a.tr.Pass(
		checkUser,
		"one user",
		"the only one whom "+strings.Join(a.Match, ", ")+" fit: "+u.Subject,
	)
	return u, nil
}

// signIn goes on with the client's request, for the person.
func (a *arrival) signIn(u *users.User, id *client.IDToken) error {
	s := a.provider.service
	signedIn := id.AuthTime
	if signedIn.IsZero() {
		signedIn = id.Issued
	}
	a.tr.Pass(checkSignedIn, "", u.Subject)

	return s.people.SignedIn(a.w, a.r, oauth.Person{
		Subject:    u.Subject,
		FHIRUser:   u.FHIRUser,
		Name:       u.DisplayName(),
		SignedIn:   signedIn,
		IdP:        id.Issuer,
		IdPSubject: id.Subject,
	}, a.trip.Query, a.tr)
}
