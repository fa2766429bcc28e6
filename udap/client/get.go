package client

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap/trace"
)

// Read is the outcome of a FHIR request. Its body is in Reply.
type Read struct {
	Trace   *trace.Trace `json:"trace"`
	Reply   *Reply       `json:"reply,omitempty"`
	Refusal *Refusal     `json:"refusal,omitempty"`
	URL     string       `json:"url"`
}

// Get reads a path under the FHIR base, or a whole URL that lies under it,
// with a bearer token; an empty token sends none.
func (c *Client) Get(ctx context.Context, path, token string) (*Read, error) {
	return ask(ctx, c, "get", path, token, nil)
}

// Match asks which patients a description most likely means (R4
// patient-operation-match.html), with a bearer token. parameters are the operation's
// Parameters, in FHIR JSON.
func (c *Client) Match(ctx context.Context, parameters []byte, token string) (*Read, error) {
	return ask(ctx, c, "match", "Patient/$match", token, parameters)
}

// ask sends a body to a path under the FHIR base, or reads what is there when the
// body is nil.
func ask(ctx context.Context, c *Client, what, path, token string, body []byte) (*Read, error) {
	out := &Read{Trace: trace.NewTrace(what, c.cfg.Now())}
	target, err := c.under(path)
	if err != nil {
		return out, stop(out.Trace, checkTarget, "a URL under "+c.cfg.Base, path, err.Error())
	}

	shown, _, _ := strings.Cut(target, "?")
	out.URL = target
	out.Trace.Pass(checkTarget, "under "+c.cfg.Base, shown)
	w := wanted{
		target: target,
		accept: "application/fhir+json",
		token:  token,
		body:   body,
		most:   maxResource,
		check:  checkTarget,
	}
	out.Reply, err = w.from(ctx, c, out.Trace)
	if err != nil {
		return out, err
	}

	if err := out.read(); err != nil || body != nil {
		return out, err
	}
	return out, out.isAsked(c.cfg.Base)
}

// wanted is one thing to get.
type wanted struct {
	target string
	accept string // media type
	token  string // access token; empty: none is sent
	body   []byte // FHIR JSON that is posted; nil: it is read
	most   int64  // bytes of the answer
	check  trace.Check
}

// from asks for the thing, with an access token where one is given, and a second time
// when the destination wants a nonce in our proof.
func (w *wanted) from(ctx context.Context, c *Client, tr *trace.Trace) (reply *Reply, err error) {
	for range 2 {
		req, err := w.request()
		if err == nil {
			err = c.cfg.Proofs.authorize(req, w.token, c.cfg.Now())
		}
		if err != nil {
			return nil, stop(tr, w.check, "a URL that can be asked for", err.Error(), "")
		}

		req.Header.Set("Accept", w.accept)
		if reply, err = c.send(ctx, tr, req, w.most); err != nil {
			return nil, err
		}
		if !c.cfg.Proofs.learn(w.target, reply.Status, reply.header) {
			break
		}
	}

	return reply, nil
}

// request makes the request for a thing.
func (w *wanted) request() (*http.Request, error) {
	if w.body == nil {
		return http.NewRequest(http.MethodGet, w.target, nil)
	}

	req, err := http.NewRequest(http.MethodPost, w.target, bytes.NewReader(w.body))
	if err == nil {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	return req, err
}

// under resolves what to read; nothing outside the base ever gets the token.
func (c *Client) under(path string) (string, error) {
	target := path
	if !strings.Contains(path, "://") {
		target = c.cfg.Base + "/" + strings.TrimPrefix(path, "/")
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", err
	}

	inside := target == c.cfg.Base || strings.HasPrefix(target, c.cfg.Base+"/") ||
		strings.HasPrefix(target, c.cfg.Base+"?")
	if !inside || netname.Origin(target) != netname.Origin(c.cfg.Base) || hasDotSegment(u.Path) {
		return "", fmt.Errorf("it does not lie under the FHIR base")
	}

	return target, nil
}

func hasDotSegment(path string) bool {
	for s := range strings.SplitSeq(path, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

func (out *Read) read() (err error) {
	r := out.Reply
	if r.Status != http.StatusOK {
		out.Refusal, err = refused(out.Trace, checkRead, r, "200")
		if h := r.header.Get("WWW-Authenticate"); h != "" && r.Status == http.StatusUnauthorized &&
			out.Refusal.Code == "" {
			out.Refusal.Hint = "the destination asks: " + h
		}

		return err
	}

	out.Trace.Pass(checkRead, "200", fmt.Sprintf("200, %s, %d bytes", r.ContentType, len(r.Body)))
	return nil
}
