package client

import (
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
	out := &Read{Trace: trace.NewTrace("get", c.cfg.Now())}
	target, err := c.under(path)
	if err != nil {
		return out, stop(out.Trace, checkTarget, "a URL under "+c.cfg.Base, path, err.Error())
	}

	shown, _, _ := strings.Cut(target, "?")
	out.URL = target
	out.Trace.Pass(checkTarget, "under "+c.cfg.Base, shown)
	out.Reply, err = c.getWith(ctx, out.Trace, wanted{
		target: target,
		accept: "application/fhir+json",
		token:  token,
		most:   maxResource,
		check:  checkTarget,
	})
	if err != nil {
		return out, err
	}

	return out, out.read()
}

// wanted is one thing to get.
type wanted struct {
	target string
	accept string // media type
	token  string // access token; empty: none is sent
	most   int64  // bytes of the answer
	check  trace.Check
}

// getWith gets one thing, with an access token where one is given, and a second time
// when the destination wants a nonce in our proof.
func (c *Client) getWith(ctx context.Context, tr *trace.Trace, w wanted) (reply *Reply, err error) {
	for range 2 {
		req, err := http.NewRequest(http.MethodGet, w.target, nil)
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
