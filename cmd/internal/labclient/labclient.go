// Package labclient opens, reads and removes sessions of a destination's lab, over the
// JSON interface that a lab has at its public site and at its console.
package labclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/conform/report"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 20

// Client is a lab. Its fields do not change while it is used.
type Client struct {
	Root string // URL of the lab: SITE/lab, or CONSOLE/lab
	HTTP *http.Client
}

// Opening is what a new session is to be.
type Opening struct {
	Name    string   `json:"name,omitempty"`
	Profile string   `json:"profile,omitempty"`
	Mode    string   `json:"mode,omitempty"`
	Faults  []string `json:"faults,omitempty"`
}

// Session is what a lab says of a session.
type Session struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Base    string    `json:"base"`   // FHIR base URL
	Issuer  string    `json:"issuer"` // authorization server
	Page    string    `json:"page"`   // pages for people
	Profile string    `json:"profile,omitempty"`
	Mode    string    `json:"mode"`
	Faults  []string  `json:"faults,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// Open opens a session.
func (c *Client) Open(ctx context.Context, o Opening) (*Session, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}

	text, err := c.ask(ctx, http.MethodPost, "/api/sessions", body)
	if err != nil {
		return nil, err
	}

	var s Session
	if err := json.Unmarshal(text, &s); err != nil || s.ID == "" || s.Base == "" {
		return nil, fmt.Errorf("%s/api/sessions answered with no session: %w", c.Root, errors.Join(err))
	}
	return &s, nil
}

// Report returns the report of the present run.
func (c *Client) Report(ctx context.Context, id string) (*report.Report, error) {
	text, err := c.ask(ctx, http.MethodGet, "/"+id+"/api/report.json", nil)
	if err != nil {
		return nil, err
	}
	return report.Parse(text)
}

// Finish ends the present run and returns its report, with which that of the next run
// is compared.
func (c *Client) Finish(ctx context.Context, id string) (*report.Report, error) {
	text, err := c.ask(ctx, http.MethodPost, "/"+id+"/api/finish", nil)
	if err != nil {
		return nil, err
	}
	return report.Parse(text)
}

// Close removes a session with all that it has.
func (c *Client) Close(ctx context.Context, id string) error {
	_, err := c.ask(ctx, http.MethodDelete, "/"+id+"/api/session", nil)
	return err
}

// Refusal is an answer that is no success.
type Refusal struct {
	Status int
	Text   string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("the lab answered %d: %s", r.Status, r.Text)
}

func (c *Client) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Root+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}

	res, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()

	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, &Refusal{res.StatusCode, firstLine(text)}
	}

	return text, nil
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	const most = 300
	return strings.ToValidUTF8(line[:min(most, len(line))], "?")
}
