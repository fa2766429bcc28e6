package client

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// OpenID is what an authorization server publishes about its people (OpenID Connect
// Discovery 3): the issuer of its ID tokens, the keys that sign them, and where to
// ask who a person is.
type OpenID struct {
	Trace   *trace.Trace `json:"trace"`
	Reply   *Reply       `json:"reply,omitempty"`
	Refusal *Refusal     `json:"refusal,omitempty"`

	Issuer        string `json:"issuer"`
	Authorization string `json:"authorizationEndpoint,omitempty"`
	Token         string `json:"tokenEndpoint,omitempty"`

	UserInfo   string   `json:"userinfoEndpoint,omitempty"` // empty: there is none
	Algorithms []string `json:"algorithms,omitempty"`       // of ID tokens, those that are accepted here
	// AnnouncesIssuer reports whether every redirect from the server has iss (RFC 9207).
	AnnouncesIssuer bool `json:"announcesIssuer"`

	keys string // URL of the key set
}

// OpenID reads the OpenID Connect metadata of an issuer. The issuer in it must be the
// one that was asked for, and key set and userinfo must stand at its origin: TLS
// alone protects the document, and a token goes to userinfo.
func (c *Client) OpenID(ctx context.Context, issuer string) (*OpenID, error) {
	out := &OpenID{
		Trace:  trace.NewTrace("openid", c.cfg.Now()),
		Issuer: issuer,
	}
	o, err := c.getObject(
		ctx,
		out.Trace,
		issuer+"/.well-known/openid-configuration",
		"",
		checkOpenID,
		&out.Reply,
		&out.Refusal,
	)
	if err != nil {
		return out, err
	}

	if got := o.text("issuer"); got != issuer {
		return out, stop(
			out.Trace,
			checkOpenID,
			"issuer "+issuer,
			fmt.Sprintf("issuer %q", got),
			difference(issuer, got),
		)
	}

	out.Authorization, out.Token = o.text("authorization_endpoint"), o.text("token_endpoint")
	for name, into := range map[string]*string{
		"jwks_uri":          &out.keys,
		"userinfo_endpoint": &out.UserInfo,
	} {
		if *into = o.text(name); *into != "" && netname.Origin(*into) != netname.Origin(issuer) {
			return out, stop(
				out.Trace,
				checkOpenID,
				name+" at "+netname.Origin(issuer),
				*into,
				"tokens and keys are not asked for elsewhere",
			)
		}
	}

	if out.keys == "" {
		return out, stop(out.Trace, checkOpenID, "jwks_uri", "none", "")
	}

	out.AnnouncesIssuer = string(o["authorization_response_iss_parameter_supported"]) == "true"
	out.Algorithms = slices.DeleteFunc(o.listOrNil("id_token_signing_alg_values_supported"), func(alg string) bool {
		return !slices.Contains(jose.Algorithms(), alg)
	})
	if len(out.Algorithms) == 0 {
		out.Algorithms = []string{"RS256"} // OpenID Connect Discovery 3: it must be among them
	}

	out.Trace.Pass(checkOpenID, "issuer "+issuer, "keys at "+out.keys)
	return out, nil
}

// getObject gets a JSON object, with an access token where one is given.
func (c *Client) getObject(
	ctx context.Context, tr *trace.Trace, target, token string, check trace.Check, reply **Reply, refusal **Refusal,
) (object, error) {
	w := wanted{
		target: target,
		accept: "application/json",
		token:  token,
		most:   maxAnswer,
		check:  check,
	}
	r, err := w.from(ctx, c, tr)
	if err != nil {
		return nil, err
	}

	*reply = r
	if (*reply).Status != http.StatusOK {
		*refusal, err = refused(tr, check, *reply, "200")
		return nil, err
	}

	return readObject(tr, *reply)
}

// UserInfo is what a server says about a person (OpenID Connect Core 5.3).
type UserInfo struct {
	Trace   *trace.Trace `json:"trace"`
	Reply   *Reply       `json:"reply,omitempty"`
	Refusal *Refusal     `json:"refusal,omitempty"`

	claims object
}

// Text returns a claim that is a string; empty when it is absent or something else.
func (u *UserInfo) Text(name string) string { return u.claims.text(name) }

// UserInfo asks who a person is. The answer must be about the subject of the ID
// token that came with the access token (OpenID Connect Core 5.3.2).
func (c *Client) UserInfo(ctx context.Context, p *OpenID, access, subject string) (*UserInfo, error) {
	out := &UserInfo{Trace: trace.NewTrace("userinfo", c.cfg.Now())}
	if p.UserInfo == "" {
		return out, stop(
			out.Trace,
			checkUserInfo,
			"a userinfo_endpoint",
			"none",
			"",
		)
	}

	o, err := c.getObject(
		ctx,
		out.Trace,
		p.UserInfo,
		access,
		checkUserInfo,
		&out.Reply,
		&out.Refusal,
	)
	if err != nil {
		return out, err
	}
	if got := o.text("sub"); got != subject || subject == "" {
		return out, stop(
			out.Trace,
			checkUserInfo,
			"sub "+trace.Cut(subject, 100),
			"sub "+trace.Cut(got, 100),
			"the answer is about somebody else",
		)
	}

	out.claims = o
	out.Trace.Pass(checkUserInfo, "the sub of the ID token", "")
	return out, nil
}
