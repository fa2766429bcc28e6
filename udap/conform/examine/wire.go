package examine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

const (
	maxAnswer = 1 << 20 // bytes that are read of an answer
	maxTries  = 4       // of one request that is answered with 429
	jsonType  = "application/json"
	formType  = "application/x-www-form-urlencoded"
)

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
	object jose.Object // nil: the body is not one JSON object
	err    error       // no whole answer came
}

// get reads a URL without any credential.
func (x *examination) get(target string) *reply {
	return x.send(x.ctx, http.MethodGet, target, "", nil)
}

// post posts a body.
func (x *examination) post(target, mediaType string, body []byte) *reply {
	return x.send(x.ctx, http.MethodPost, target, mediaType, body)
}

// send makes a request, again after a 429, or a 503 that names a time to wait.
func (x *examination) send(
	ctx context.Context, method, target, mediaType string, body []byte,
) *reply {
	for try := 1; ; try++ {
		x.requests++
		began := time.Now()
		r := x.once(ctx, method, target, mediaType, body)
		x.lost++
		if r.status != 0 {
			x.lost = 0
		} else {
			x.silence += time.Since(began)
		}
		if !r.busy() {
			return r
		}
		if try == maxTries {
			x.busy = r
			return r
		}

		select {
		case <-ctx.Done():
			return &reply{err: ctx.Err()}
		case <-time.After(min(x.Wait, retryAfter(r.header, x.now()))):
		}
	}
}

// busy reports whether the destination asks for the same request later.
func (r *reply) busy() bool {
	return r.status == http.StatusTooManyRequests ||
		r.status == http.StatusServiceUnavailable && r.header.Get("Retry-After") != ""
}

// gone reports whether the destination does not answer any more. One that only leaves
// wrong requests without an answer still gives its metadata; that is waited for so long
// and no longer.
func gone(x *examination) bool {
	if x.lost >= mostLost && !x.left {
		x.left = x.silence > mostSilence || x.get(x.metadataURL(x.Client.Community)).status == 0
	}
	return x.left
}

// retryAfter reads Retry-After, in seconds or a date (RFC 9110 10.2.3); without one it
// is a second.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	wait := time.Second
	if n, err := strconv.ParseUint(text, 10, 16); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return max(wait, time.Second)
}

func (x *examination) once(
	ctx context.Context, method, target, mediaType string, body []byte,
) *reply {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return &reply{err: err}
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	req.Header.Set("Accept", jsonType)

	res, err := x.client.RoundTrip(req)
	if err != nil {
		return &reply{err: plain(err)}
	}
	defer res.Body.Close()

	r := &reply{
		status: res.StatusCode,
		header: res.Header,
	}
	r.body, r.err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if r.err == nil && len(r.body) > maxAnswer {
		r.err = fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	r.object, _ = jose.ParseObject(r.body) // nil: its readers report that
	return r
}

// plain removes the URL from an error: a query may hold what is private.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// text returns a member that is a string, else nothing.
func (r *reply) text(name string) string {
	s, _ := r.object.Text(name)
	return s
}

// good reports whether the answer is a success of the OAuth endpoints: a 2xx with one
// JSON object that is no error in disguise.
func (r *reply) good() bool { return r.done() && r.object != nil }

// done is good for an answer that may be empty. A web page is no confirmation.
func (r *reply) done() bool {
	return r.err == nil && r.status/100 == 2 && !r.object.Has("error") &&
		(r.object != nil || len(r.body) == 0)
}

// json reports whether the media type is that of JSON.
func (r *reply) json() bool {
	t, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	return err == nil && t == jsonType
}

// String describes the answer in one line, without anything that is secret.
func (r *reply) String() string {
	if r.err != nil {
		return "no answer: " + r.err.Error()
	}

	parts := []string{fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))}
	if code := r.text("error"); code != "" {
		parts = append(parts, code)
	}
	if why := r.text("error_description"); why != "" {
		parts = append(parts, trace.Cut(why, 200))
	}
	if r.object == nil && len(r.body) > 0 {
		parts = append(parts, "a body of "+r.header.Get("Content-Type"))
	}
	return strings.Join(parts, ", ")
}
