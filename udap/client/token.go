package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/trace"
)

// B2B is the hl7-b2b authorization extension object (UDAP Security 2.0, B2B 5.2.1).
type B2B struct {
	Version          string   `json:"version"` // "1" when empty
	SubjectName      string   `json:"subject_name,omitempty"`
	SubjectID        string   `json:"subject_id,omitempty"`
	SubjectRole      string   `json:"subject_role,omitempty"`
	OrganizationName string   `json:"organization_name,omitempty"`
	OrganizationID   string   `json:"organization_id"`
	PurposeOfUse     []string `json:"purpose_of_use"`
	ConsentPolicy    []string `json:"consent_policy,omitempty"`
	ConsentReference []string `json:"consent_reference,omitempty"`
}

// TokenRequest describes the token to ask for.
type TokenRequest struct {
	ClientID   trace.ClientID
	Scope      string
	B2B        *B2B                      // nil sends none
	Extensions map[string]jsontext.Value // further extension objects, as they are
}

// Token is the outcome of a token request. Access, Refresh and IDToken are secrets.
type Token struct {
	Trace   *trace.Trace `json:"trace"`
	Reply   *Reply       `json:"reply,omitempty"`
	Refusal *Refusal     `json:"refusal,omitempty"`
	Access  string       `json:"-"`
	Refresh string       `json:"-"` // empty: none was given
	IDToken string       `json:"-"` // unverified: see VerifyIDToken; empty: none was given
	Scope   string       `json:"scope,omitempty"`
	Expires time.Time    `json:"expires,omitzero"` // zero: the destination did not send it

	members object
	kind    string // the token_type that was asked for
}

// Text returns a further member of the answer that is a string, such as patient;
// empty when it is absent or something else.
func (t *Token) Text(name string) string { return t.members.text(name) }

type assertionClaims struct {
	Iss        string                    `json:"iss"`
	Sub        string                    `json:"sub"`
	Aud        string                    `json:"aud"`
	Exp        int64                     `json:"exp"`
	Iat        int64                     `json:"iat"`
	JTI        string                    `json:"jti"`
	Extensions map[string]jsontext.Value `json:"extensions,omitempty"`
}

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	maxTokenLife  = time.Hour
)

// Token asks for an access token with the client credentials grant.
func (c *Client) Token(ctx context.Context, d *Discovery, t TokenRequest) (*Token, error) {
	form := url.Values{"grant_type": {grantClientCredentials}}
	if t.Scope != "" {
		form.Set("scope", t.Scope)
	}
	return c.askToken(ctx, d, form, t)
}

// askToken posts the form of a grant with the authentication of the client.
func (c *Client) askToken(ctx context.Context, d *Discovery, form url.Values, t TokenRequest) (*Token, error) {
	out := &Token{Trace: trace.NewTrace("token", c.cfg.Now())}
	out.Trace.Community, out.Trace.ClientID = c.cfg.Community, t.ClientID
	for range 2 { // a second time when the destination wants a nonce in our proof
		err := c.authenticate(d, form, t, out.Trace)
		if err == nil {
			out.Reply, err = c.postTo(ctx, out.Trace, d.Token, formType, []byte(form.Encode()))
		}
		if err != nil {
			return out, err
		}
		if !c.cfg.Proofs.learn(d.Token, out.Reply.Status, out.Reply.header) {
			break
		}
	}

	out.kind = c.cfg.Proofs.tokenType()
	return out, out.read(t, c.cfg.Now())
}

// authenticate adds an authentication token to a form (UDAP Security 2.0, 4.2, 5.2).
func (c *Client) authenticate(d *Discovery, form url.Values, t TokenRequest, tr *trace.Trace) error {
	if err := verified(tr, d); err != nil {
		return err
	}
	if t.ClientID == "" {
		return stop(tr, checkAsked, "a client_id", "none", "register first")
	}
	if _, err := c.identity(tr); err != nil {
		return err
	}
	if err := d.canUse(tr, form.Get("grant_type"), c.algorithm(),
		"token_endpoint_auth_signing_alg_values_supported"); err != nil {
		return err
	}

	ext, err := extensions(tr, t)
	if err != nil {
		return err
	}

	now := c.cfg.Now()
	compact, err := c.sign(assertionClaims{
		Iss: string(t.ClientID), Sub: string(t.ClientID), Aud: d.Token, Iat: now.Unix(),
		Exp: now.Add(statementLife).Unix(), JTI: c.cfg.NewJTI(), Extensions: ext,
	})
	if err != nil {
		return stop(tr, checkAsked, "a signature", err.Error(), "")
	}

	tr.Pass(checkAsked, "", fmt.Sprintf("to %s, signed with %s, scope %q", d.Token, c.algorithm(), t.Scope))
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", compact)
	form.Set("udap", "1")
	return nil
}

// extensions builds the extensions claim and checks our own hl7-b2b object.
func extensions(tr *trace.Trace, t TokenRequest) (map[string]jsontext.Value, error) {
	out := map[string]jsontext.Value{}
	for name, v := range t.Extensions {
		out[name] = v
	}

	if t.B2B == nil {
		tr.Skip(checkB2B, "none is sent")
		return out, nil
	}

	b := *t.B2B
	if b.Version == "" {
		b.Version = "1"
	}

	for _, f := range b.faults() {
		return nil, stop(tr, checkB2B, f.expected, f.found, f.remedy)
	}

	v, err := json.Marshal(b)
	if err != nil {
		return nil, stop(tr, checkB2B, "a JSON object", err.Error(), "")
	}

	out["hl7-b2b"] = v
	tr.Pass(checkB2B, "", fmt.Sprintf("organization %s, purpose of use %v", b.OrganizationID, b.PurposeOfUse))
	return out, nil
}

func (b B2B) faults() []parameterFault {
	var out []parameterFault
	add := func(bad bool, expected, found string) {
		if bad {
			out = append(out, parameterFault{expected, found, ""})
		}
	}

	u, err := url.Parse(b.OrganizationID)
	add(err != nil || !u.IsAbs(), "organization_id as an absolute URI", fmt.Sprintf("%q", b.OrganizationID))
	add(len(b.PurposeOfUse) == 0, "at least one purpose_of_use", "none")
	add(len(b.ConsentReference) > 0 && len(b.ConsentPolicy) == 0,
		"consent_reference only beside consent_policy",
		"consent_reference alone")
	add(b.SubjectName != "" && b.SubjectRole == "" &&
		b.SubjectID != "", "subject_role where the subject is named", "none")

	return out
}

// read checks the token response (RFC 6749 5.1).
func (out *Token) read(t TokenRequest, now time.Time) (err error) {
	tr, r := out.Trace, out.Reply
	if r.Status != http.StatusOK {
		out.Refusal, err = refused(tr, checkGiven, r, "200 and a token")
		return err
	}

	o, err := readObject(tr, r)
	if err != nil {
		return err
	}

	if _, ok := o["error"]; ok {
		out.Refusal, err = refused(tr, checkGiven, r, "200 and a token, and no error")
		return err
	}

	access, kind := o.text("access_token"), o.text("token_type")
	if access == "" || !strings.EqualFold(kind, out.kind) {
		return stop(tr, checkGiven, "access_token of token_type "+out.kind,
			fmt.Sprintf("token_type %q, token present: %v", kind, access != ""), "")
	}
	if strings.ContainsFunc(access, func(r rune) bool { return r <= ' ' || r >= 0x7f }) { // RFC 6749 A.12
		return stop(tr, checkGiven, "an access_token of visible ASCII", "one with other characters",
			"it cannot be sent in a header")
	}

	tr.Pass(checkGiven, "", "token_type "+kind)
	out.Access, out.Scope = access, o.text("scope")
	out.Refresh, out.IDToken, out.members = o.text("refresh_token"), o.text("id_token"), o
	if out.Scope == "" {
		out.Scope = t.Scope // RFC 6749 5.1: absent when it is what was asked for
	}
	out.accept(t, o, now)

	return nil
}

// accept notes how long the token lives and what it covers. A lifetime that is
// absent or unusable leaves Expires zero: the token is good until it is refused
// (RFC 6749 5.1 only recommends expires_in).
func (out *Token) accept(t TokenRequest, o object, now time.Time) {
	life, ok := o.number("expires_in")
	switch {
	case ok && life > 0 && life <= int64(maxTokenLife/time.Second):
		out.Expires = now.Add(time.Duration(life) * time.Second)
		out.Trace.Pass(checkLifetime, "at most 3600 s", fmt.Sprintf("%d s", life))
	default:
		if ok && life > 0 {
			out.Expires = now.Add(time.Duration(min(life, 1<<31)) * time.Second)
		}
		found := "expires_in " + string(o["expires_in"])
		if o["expires_in"] == nil {
			found = "no expires_in"
		}
		out.Trace.Warn(checkLifetime, trace.Finding{
			Expected: "expires_in as a number of seconds, at most 3600",
			Found:    found,
			Remedy:   "ask the destination's operator; without it nobody knows when to ask for the next token",
		})
	}

	missing, added := lacking(t.Scope, out.Scope), lacking(out.Scope, t.Scope)
	switch {
	case len(missing) > 0:
		out.Trace.Warn(checkScope, trace.Finding{
			Expected: t.Scope,
			Found:    out.Scope,
			Remedy:   "not granted: " + strings.Join(missing, " "),
		})

	case len(added) > 0 && t.Scope != "":
		out.Trace.Warn(checkScope, trace.Finding{
			Expected: t.Scope,
			Found:    out.Scope,
			Remedy:   "granted without being asked for: " + strings.Join(added, " "),
		})

	default:
		out.Trace.Pass(checkScope, t.Scope, out.Scope)
	}
}
