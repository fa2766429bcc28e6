package oauth

import (
	"net/http"
	"slices"
	"strings"

	"fhirdest.example/udap/trace"
)

var (
	checkUserInfoMethod = trace.NewCheck("userinfo.method", "Userinfo is asked for by GET or POST", "")
	checkUserInfoScope  = trace.NewCheck("userinfo.scope",
		"The access token is of a person, with the scope openid (OpenID Connect Core 5.3)", "")
)

// userInfoHandler is the HTTP shell of the userinfo endpoint (OpenID Connect Core
// 5.3). The access token is in the Authorization header, for POST too.
func (s shell) userInfoHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr := trace.NewTrace("userinfo", s.cfg.Now())
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Pragma", "no-cache")
		w.Header().Set("X-Content-Type-Options", "nosniff")

		about, err := s.serveUserInfo(w, r, tr)
		refusal := RefusalOf(err)
		if err != nil && refusal.Trace != "" {
			tr = &trace.Trace{ID: refusal.Trace} // that of the token, which is recorded
		} else {
			s.Record(tr)
		}

		w.Header().Set("Trace-Id", tr.ID)
		if err != nil {
			s.writeRefusal(w, refusal, tr)
			return
		}
		writeJSON(w, http.StatusOK, about)
	})
}

func (s shell) serveUserInfo(w http.ResponseWriter, r *http.Request, tr *trace.Trace) (*claimsOf, error) {
	if err := limited(tr, s.limits.address, "address", s.address(r), tr.Time); err != nil {
		return nil, err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return nil, &Refusal{
			Of: tr.Refuse(checkUserInfoMethod, trace.InvalidRequest, trace.Finding{
				Expected: "GET or POST",
				Found:    r.Method,
			}),
			Status: http.StatusMethodNotAllowed,
			Header: http.Header{"Allow": {"GET, HEAD, POST"}},
		}
	}

	c := &call{
		r:     r,
		trace: tr,
	}
	// Nothing is read from its body: RFC 6750 2.2 is not offered.
	if err := c.readBody(endpoint{limit: maxAuthorizeBody}, w); err != nil {
		return nil, err
	}

	access, err := s.BearerRequest(r, func(*http.Request) string { return s.urls.UserInfo })
	if err != nil {
		return nil, err
	}

	tr.Community, tr.Client, tr.ClientID = access.Community, access.Client, access.ClientID
	if access.Grant == nil || !slices.Contains(access.Scope, scopeOpenID) {
		return nil, &Refusal{
			Of: tr.Refuse(checkUserInfoScope, trace.InsufficientScope, trace.Finding{
				Expected: "a token of a person, with the scope openid",
				Found:    strings.Join(access.Scope, " "),
				Remedy:   "ask for openid in the authorization request",
			}),
			Status: http.StatusForbidden,
			Header: http.Header{
				"Www-Authenticate": {challenge(tokenType(access.Confirmation), trace.InsufficientScope)},
			},
		}
	}

	about := openid(s).claims(access.Grant.Person, access.Scope)
	tr.Pass(checkUserInfoScope, "the scope openid", "token "+access.TokenID)
	return &about, nil
}
