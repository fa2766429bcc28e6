package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// Interaction asks a person. Package people implements it.
type Interaction interface {
	// Authorize answers a browser whose authorization request was verified: with
	// a page, or with a redirect from Approve or Decline.
	Authorize(w http.ResponseWriter, r *http.Request, req *AuthorizationRequest)

	// Refuse shows a refusal that must not be redirected, with the trace's id.
	Refuse(w http.ResponseWriter, r *http.Request, refusal *Refusal, tr *trace.Trace)

	// Reach returns what the person of a grant may give access to by it at present.
	Reach(ctx context.Context, g *Grant) (Reach, error)
}

// Reach is what a person may give access to. The zero value is of a person who may
// not sign in any more: what such a person granted has no effect.
type Reach struct {
	Enabled     bool     // the person may sign in
	SignedOut   bool     // the session with which the grant ends is over
	Withdrawn   bool     // the Consent of the grant is not active any more
	AllPatients bool     // the person may see every patient's data, as a practitioner may
	Patients    []string // else the ids of the patients whose data the person may see
}

// lacks returns why a grant about a patient has no effect; empty: it has.
func (r Reach) lacks(patient string) string {
	switch {
	case !r.Enabled:
		return "a person who may no longer sign in"
	case r.SignedOut:
		return "a person whose session is over, with which the grant ends"
	case r.Withdrawn:
		return "a grant whose Consent resource is not active any more"
	case !r.includes(patient):
		return "a person who may no longer give access to the patient in context"
	}
	return ""
}

// includes reports whether the data of a patient is within reach; empty stands for no patient.
func (r Reach) includes(patient string) bool {
	return patient == "" || r.AllPatients || slices.Contains(r.Patients, patient)
}

// Approval is what a person agreed to.
type Approval struct {
	Person  Person
	Session Session
	Patient string                    // id of the patient in context; empty: none
	Scope   []string                  // a part of AuthorizationRequest.Scope
	Launch  map[string]jsontext.Value // further launch context, by the names of the token response
}

// codeLifetime is how long a code can be redeemed (RFC 6749 4.1.2 recommends at
// most 10 minutes).
const codeLifetime = time.Minute

// The scopes by which a client asks for refresh tokens (SMART App Launch 2.2), and
// how long those of offline_access live, from the person's approval on.
const (
	offlineAccess = "offline_access"
	onlineAccess  = "online_access"
	maxRefresh    = 90 * 24 * time.Hour
)

// reservedMembers are the names in a token response that launch context cannot have.
var reservedMembers = []string{
	"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token", "patient",
}

// maxLaunch bounds the members of launch context.
const maxLaunch = 16

var (
	checkApproved = trace.NewCheck("authorize.approved",
		"The grant and its code are stored: what was agreed to, by whom, for which patient", "S1-134 S1-135")
	checkApproval = trace.NewCheck("authorize.approval",
		"A person who is signed in agreed to a part of what was asked for", "")
	checkDeclined  = trace.NewCheck("authorize.declined", "Access was granted", "")
	checkUnchanged = trace.NewCheck("authorize.unchanged",
		"The client's registration is the one that the person saw", "")
)

// errApproval guards against an approval that no person can have given.
var errApproval = errors.New("oauth: the approval is not a part of the request")

// Approve stores what a person granted with a code for it, and returns the
// redirect that has the code, the state and the issuer (RFC 6749 4.1.2,
// RFC 9207). An error is a *Refusal or *trace.Error to be shown on a page; with the
// check authorize.unchanged the client's registration has changed since the
// request was parsed, and the person must be asked again. For another person than
// that of id_token_hint nothing is stored, and the redirect has login_required.
func (s *Service) Approve(ctx context.Context, r *AuthorizationRequest, a Approval) (redirect string, err error) {
	if r.Subject != "" && r.Subject != a.Person.Subject { // OpenID Connect Core 3.1.2.2
		return s.Decline(r, trace.LoginRequired, "the person who signed in is not the one of id_token_hint"), nil
	}

	g, code, err := approved(r, a, s.cfg.Now())
	if err != nil {
		return "", r.Trace.Refuse(checkApproval, trace.ServerError, trace.Finding{Err: err})
	}

	switch err := s.cfg.Store.Approve(ctx, g, r.Registration); {
	case errors.Is(err, ErrNoRegistration):
		return "", r.Trace.Refuse(checkUnchanged, trace.InvalidRequest, trace.Finding{
			Expected: "the registration that was shown",
			Found:    "the client was cancelled or registered anew meanwhile",
			Remedy:   "look at the request again",
			Err:      err,
		})

	case errors.Is(err, ErrNoLaunch):
		return "", r.Trace.Refuse(checkLaunch, trace.InvalidRequest, trace.Finding{
			Expected: "a launch that was not used before",
			Found:    "it was used meanwhile",
			Remedy:   "open the app from the EHR again",
			Err:      err,
		})

	case err != nil:
		return "", trouble(r.Trace, err)
	}

	r.Trace.Effect = trace.Approved
	r.Trace.Grant, r.Trace.Patient = string(g.ID), a.Patient
	r.Trace.Pass(checkApproved, "at most 10 minutes",
		"grant "+string(g.ID)+" of "+a.Person.Subject+", patient "+orNone(a.Patient)+", "+strings.Join(a.Scope, " ")+
			"; the code lives "+codeLifetime.String())
	return r.redirect(s.urls.Issuer, url.Values{"code": {code}}), nil
}

// approved makes the grant and its code.
func approved(r *AuthorizationRequest, a Approval, now time.Time) (g Grant, code string, err error) {
	outside := slices.ContainsFunc(a.Scope, func(t string) bool { return !slices.Contains(r.Scope, t) })
	for name := range a.Launch {
		outside = outside || slices.Contains(reservedMembers, name)
	}
	if outside || len(a.Scope) == 0 || a.Person.Subject == "" || len(a.Launch) > maxLaunch {
		return g, "", errApproval
	}

	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (Go 1.24)
	now = now.Truncate(time.Second)
	g = Grant{
		ID:        newGrantID(),
		ClientID:  r.Registration.ID,
		Community: r.Registration.Community,
		Client:    r.Registration.Client,
		Person:    a.Person,
		Patient:   a.Patient,
		Scope:     a.Scope,
		Nonce:     r.Nonce,
		Launch:    a.Launch,
		Created:   now,
		Expires:   now.Add(codeLifetime),
		Code: Code{
			Hash:        sha256.Sum256(secret[:]),
			RedirectURI: r.RedirectURI,
			Sent:        r.redirectSent,
			Challenge:   r.Challenge,
			Thumbprint:  r.KeyThumbprint,
			Expires:     now.Add(codeLifetime),
		},
	}

	if err := useLaunch(&g, r); err != nil {
		return g, "", err
	}

	switch {
	case slices.Contains(a.Scope, offlineAccess):
		g.RefreshEnds = now.Add(maxRefresh)
	case slices.Contains(a.Scope, onlineAccess) && a.Session.ID != "":
		g.RefreshEnds, g.Session = a.Session.Expires.Truncate(time.Second), a.Session.ID
	}

	id, err := hex.DecodeString(string(g.ID))
	return g, base64.RawURLEncoding.EncodeToString(append(id, secret[:]...)), err
}

// Decline returns the redirect that has an OAuth error (RFC 6749 4.1.2.1, OpenID
// Connect Core 3.1.2.6). The reason is for the trace, and for the client where it
// may know everything.
func (s *Service) Decline(r *AuthorizationRequest, code trace.Code, reason string) (redirect string) {
	e := r.Trace.Refuse(checkDeclined, code, trace.Finding{Found: reason})
	return shell{s}.declined(r, e)
}

// Refused returns the redirect that has a refusal which the caller has recorded in the
// request's trace.
func Refused(s *Service, r *AuthorizationRequest, e *trace.Error) (redirect string) {
	return shell{s}.declined(r, e)
}

// declined returns the redirect that has a refusal.
func (s shell) declined(r *AuthorizationRequest, e *trace.Error) string {
	w := s.wireError(RefusalOf(e), r.Trace)
	v := url.Values{
		"error":             {string(w.Error)},
		"error_description": {w.Description},
	}
	if w.URI != "" {
		v.Set("error_uri", w.URI)
	}
	return r.redirect(s.urls.Issuer, v)
}

// redirect returns the redirect URI with an answer, after a query that it may have.
func (r *AuthorizationRequest) redirect(issuer string, v url.Values) string {
	if r.State != "" {
		v.Set("state", r.State)
	}
	v.Set("iss", issuer)

	separator := "?"
	if strings.Contains(r.RedirectURI, "?") {
		separator = "&"
	}
	return r.RedirectURI + separator + v.Encode()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
