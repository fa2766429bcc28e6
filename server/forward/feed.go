package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Feed is a FHIR server that is sent AuditEvents as IHE RESTful ATNA (ITI-20, Send
// Audit Bundle) has it: a Bundle of type batch, posted to the base URL.
type Feed struct {
	URL   string                      // base URL of the receiving server
	From  string                      // our base URL, for Bundle.entry.fullUrl
	TLS   func() (*tls.Config, error) // read for each batch, so that new files count
	Token func() (string, error)      // the bearer token; nil: none is sent
	Now   func() time.Time
}

// fhirType is the media type of FHIR's JSON.
const fhirType = "application/fhir+json"

// maxAnswer bounds what is read of the receiver's answer, in bytes.
const maxAnswer = 4 << 20

// Send implements Collector. The records that the receiver confirms one after
// another, from the first on, are accepted.
func (f *Feed) Send(ctx context.Context, events []Event) (int, error) {
	cfg, err := f.TLS()
	if err != nil {
		return 0, err
	}
	req, err := f.request(ctx, events)
	if err != nil {
		return 0, err
	}

	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:        cfg,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // the token is for this server alone
		},
	}
	defer client.CloseIdleConnections()

	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, f.refused(res)
	}

	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return 0, err
	}
	if len(body) > maxAnswer {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return confirmed(body, len(events))
}

func (f *Feed) request(ctx context.Context, events []Event) (*http.Request, error) {
	body := []byte(`{"resourceType":"Bundle","type":"batch","entry":[`)
	for i := range events {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"fullUrl":"`+f.From+"/AuditEvent/"+events[i].ID+`","resource":`...)
		body = append(body, events[i].Body...)
		body = append(body, `,"request":{"method":"POST","url":"AuditEvent"}}`...)
	}

	body = append(body, "]}"...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}

	req.Header.Set("Content-Type", fhirType)
	req.Header.Set("Accept", fhirType)
	req.Header.Set("Prefer", "return=minimal")
	if f.Token != nil {
		token, err := f.Token()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}

	return req, nil
}

// refused is the error for an answer that accepts nothing. Retry-After is followed
// with any status (RFC 9110 10.2.3).
func (f *Feed) refused(res *http.Response) error {
	err := fmt.Errorf("the collector answered %d", res.StatusCode)
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		err = fmt.Errorf("%w: it does not accept the token or the certificate", err)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		err = fmt.Errorf("%w: audit.feed.url must be its base URL", err)
	}

	if res.StatusCode >= 300 && res.StatusCode < 400 {
		err = fmt.Errorf("%w: redirects are not followed", err)
	}

	if after := retryAfter(res.Header.Get("Retry-After"), f.Now()); after > 0 {
		return &Busy{
			After: after,
			Err:   err,
		}
	}
	return err
}

// retryAfter reads Retry-After: seconds or a date; 0 when it is neither.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// confirmed returns how many of the batch's n entries the receiver has stored, up
// to the first that it has not (R4 http.html 3.1.0.11.2: one result an entry, in
// their order).
func confirmed(body []byte, n int) (int, error) {
	var answer struct {
		Type  string `json:"type"`
		Entry []struct {
			Response struct {
				Status string `json:"status"`
			} `json:"response"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Type != "batch-response" {
		return 0, errors.New("the answer is no Bundle of type batch-response")
	}
	if len(answer.Entry) != n {
		return 0, fmt.Errorf("the answer has %d results for %d records", len(answer.Entry), n)
	}

	for i, e := range answer.Entry {
		if !strings.HasPrefix(e.Response.Status, "2") {
			return i, fmt.Errorf("the collector refused it with %.60q", e.Response.Status)
		}
	}
	return n, nil
}
