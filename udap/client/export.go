package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/trace"
)

// The checks of a bulk export (Bulk Data Access 2.0).
var (
	checkKickOff = trace.NewCheck("export.accepted",
		"The destination accepted the export and named a status URL under its base", "ER-18")
	checkStatus   = trace.NewCheck("export.status", "The destination answers for the export's status", "ER-18")
	checkManifest = trace.NewCheck("export.manifest",
		"The manifest is whole, and its files may have the token", "ER-18")
	checkFile = trace.NewCheck("export.file", "The file was downloaded whole", "ER-18")
)

// Manifest is what a finished export consists of.
type Manifest struct {
	TransactionTime     time.Time    `json:"transactionTime"`
	Request             string       `json:"request"`
	RequiresAccessToken bool         `json:"requiresAccessToken"`
	Output              []ExportFile `json:"output"`
	Deleted             []ExportFile `json:"deleted"`
	Error               []ExportFile `json:"error"`
}

// ExportFile is one file of NDJSON.
type ExportFile struct {
	Type  string `json:"type"`
	URL   string `json:"url"`
	Count *int64 `json:"count"` // lines; nil when the destination does not count them
}

// Bulk is an originator that exports.
type Bulk struct{ *Client }

// Kickoff is the outcome of asking for an export.
type Kickoff struct {
	Trace   *trace.Trace `json:"trace"`
	Refusal *Refusal     `json:"refusal,omitempty"`
	Status  string       `json:"status"` // URL
}

// ExportRequest is what is asked for.
type ExportRequest struct {
	Path       string // below the base, with its query: "Group/1/$export?_type=Patient"
	Parameters []byte // Parameters to post; nil: the request is a GET
	Token      string
}

// Export asks for an export.
func (c Bulk) Export(ctx context.Context, r ExportRequest) (*Kickoff, error) {
	out := &Kickoff{Trace: trace.NewTrace("export", c.cfg.Now())}
	target, err := c.under(r.Path)
	if err != nil {
		return out, stop(out.Trace, checkTarget, "a URL under "+c.cfg.Base, r.Path, err.Error())
	}

	method := http.MethodGet
	if r.Parameters != nil {
		method = http.MethodPost
	}
	reply, err := c.exchange(ctx, out.Trace, method, target, r.Token, r.Parameters)
	if err != nil {
		return out, err
	}
	if reply.Status != http.StatusAccepted {
		out.Refusal, err = refused(out.Trace, checkKickOff, reply, "202 and Content-Location")
		return out, err
	}

	out.Status = reply.header.Get("Content-Location")
	if _, err := c.under(out.Status); err != nil || !strings.Contains(out.Status, "://") {
		return out, stop(out.Trace, checkKickOff, "a status URL under "+c.cfg.Base, out.Status,
			"the token is sent nowhere else")
	}

	out.Trace.Pass(checkKickOff, "", out.Status)
	return out, nil
}

// exchange sends one request of an export, again when the destination wants a nonce.
func (c Bulk) exchange(
	ctx context.Context, tr *trace.Trace, method, target, token string, body []byte,
) (reply *Reply, err error) {
	for range 2 {
		req, err := http.NewRequest(method, target, strings.NewReader(string(body)))
		if err == nil {
			err = c.cfg.Proofs.authorize(req, token, c.cfg.Now())
		}
		if err != nil {
			return nil, stop(tr, checkTarget, "a URL that can be asked for", err.Error(), "")
		}

		req.Header.Set("Accept", "application/fhir+json")
		req.Header.Set("Prefer", "respond-async")
		if body != nil {
			req.Header.Set("Content-Type", "application/fhir+json")
		}
		if reply, err = c.send(ctx, tr, req, maxResource); err != nil {
			return nil, err
		}
		if !c.cfg.Proofs.learn(target, reply.Status, reply.header) {
			break
		}
	}

	return reply, nil
}

// ExportStatus is how far an export is.
type ExportStatus struct {
	Trace    *trace.Trace  `json:"trace"`
	Refusal  *Refusal      `json:"refusal,omitempty"`
	Progress string        `json:"progress,omitempty"`
	Retry    time.Duration `json:"-"`                  // when to ask again
	Manifest *Manifest     `json:"manifest,omitempty"` // of a finished export
}

// Bounds of the pace at which a status is asked for.
const (
	defaultPace = 2 * time.Second
	maxPace     = time.Minute
)

// ExportStatus asks how far an export is.
func (c Bulk) ExportStatus(ctx context.Context, url, token string) (*ExportStatus, error) {
	out := &ExportStatus{Trace: trace.NewTrace("status", c.cfg.Now())}
	target, err := c.under(url)
	if err != nil {
		return out, stop(out.Trace, checkTarget, "a URL under "+c.cfg.Base, url, err.Error())
	}

	w := wanted{
		target: target,
		accept: "application/json",
		token:  token,
		most:   maxResource,
		check:  checkTarget,
	}
	reply, err := w.from(ctx, c.Client, out.Trace)
	if err != nil {
		return out, err
	}

	switch reply.Status {
	case http.StatusAccepted, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		out.Progress, out.Retry = reply.header.Get("X-Progress"), pace(reply.header, c.cfg.Now())
		out.Trace.Pass(checkStatus, "", "under way: "+out.Progress)
		return out, nil
	case http.StatusOK:
		return out, c.readManifest(out, reply)
	}

	out.Refusal, err = refused(out.Trace, checkStatus, reply, "200, or 202 with its progress")
	return out, err
}

// pace is when to ask again, by Retry-After.
func pace(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return min(time.Duration(n)*time.Second, maxPace)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxPace)
	}
	return defaultPace
}

// readManifest reads a manifest. A file elsewhere never gets the token.
func (c Bulk) readManifest(out *ExportStatus, reply *Reply) error {
	m := &Manifest{}
	if err := json.Unmarshal(reply.Body, m); err != nil {
		return stop(out.Trace, checkManifest, "a manifest", err.Error(), "")
	}
	if m.TransactionTime.IsZero() || m.Output == nil {
		return stop(out.Trace, checkManifest, "transactionTime and output", "not both", "")
	}

	for _, f := range append(append(m.Output[:len(m.Output):len(m.Output)], m.Deleted...), m.Error...) {
		if _, err := c.under(f.URL); err != nil && m.RequiresAccessToken {
			return stop(out.Trace, checkManifest, "files under "+c.cfg.Base, f.URL, err.Error())
		}
	}

	out.Manifest = m
	out.Trace.Pass(checkManifest, "", fmt.Sprintf("%d files, as of %s", len(m.Output),
		m.TransactionTime.UTC().Format(time.RFC3339)))
	return nil
}

// EndExport removes an export and its files from the destination, or ends one that is
// under way.
func (c Bulk) EndExport(ctx context.Context, url, token string) (*Read, error) {
	out := &Read{
		Trace: trace.NewTrace("end", c.cfg.Now()),
		URL:   url,
	}
	target, err := c.under(url)
	if err != nil {
		return out, stop(out.Trace, checkTarget, "a URL under "+c.cfg.Base, url, err.Error())
	}

	out.Reply, err = c.exchange(ctx, out.Trace, http.MethodDelete, target, token, nil)
	if err != nil {
		return out, err
	}
	if out.Reply.Status != http.StatusAccepted {
		out.Refusal, err = refused(out.Trace, checkStatus, out.Reply, "202")
		return out, err
	}

	out.Trace.Pass(checkStatus, "", "removed")
	return out, nil
}

// Sink is where a file is downloaded to: what it has already is not downloaded again.
type Sink interface {
	io.Writer
	Size() int64 // bytes that it has
	Reset() error
}

// maxTries is how often a download that breaks off is continued.
const maxTries = 5

// errAgain is the error of a download that may be continued.
var errAgain = errors.New("the download broke off")

// Download downloads a file from where the sink ends, and goes on when the connection
// breaks.
func (c Bulk) Download(ctx context.Context, url, token string, to Sink) (*Read, error) {
	out := &Read{
		Trace: trace.NewTrace("download", c.cfg.Now()),
		URL:   url,
	}
	if _, err := c.under(url); err != nil && token != "" {
		return out, stop(out.Trace, checkTarget, "a URL under "+c.cfg.Base, url, err.Error())
	}

	var err error
	for range maxTries {
		err = c.downloadRest(ctx, out, url, token, to)
		if !errors.Is(err, errAgain) || ctx.Err() != nil {
			break
		}
	}

	if errors.Is(err, errAgain) {
		err = stop(out.Trace, checkFile, "the whole file", err.Error(),
			"an intermediary or the destination breaks the connection; run the same command again")
	}
	return out, err
}

// downloadRest makes one attempt.
func (c Bulk) downloadRest(ctx context.Context, out *Read, url, token string, to Sink) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil && token != "" {
		err = c.cfg.Proofs.authorize(req, token, c.cfg.Now())
	}
	if err != nil {
		return stop(out.Trace, checkFile, "a URL that can be asked for", err.Error(), "")
	}

	req.Header.Set("Accept", "application/fhir+ndjson")
	from := to.Size()
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	patient := *c.http
	patient.Timeout = 0 // a file may take longer than one request
	res, err := patient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	defer res.Body.Close()

	switch {
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable && from > 0: // it is whole already
		out.Trace.Pass(checkFile, "", "whole already")
		return nil
	case res.StatusCode == http.StatusOK:
		if err := to.Reset(); err != nil {
			return err
		}
	case res.StatusCode != http.StatusPartialContent || from == 0:
		return c.notDownloaded(out, req, res)
	}

	n, err := io.Copy(to, res.Body)
	if err != nil {
		return fmt.Errorf("%w after %d bytes: %w", errAgain, n, err)
	}

	out.Trace.Pass(checkFile, "", fmt.Sprintf("%d bytes", to.Size()))
	return nil
}

// notDownloaded is why a file was refused, or that it is to be asked for again with a
// nonce.
func (c Bulk) notDownloaded(out *Read, req *http.Request, res *http.Response) error {
	if c.cfg.Proofs.learn(req.URL.String(), res.StatusCode, res.Header) {
		return fmt.Errorf("%w: a nonce is wanted", errAgain)
	}

	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%w: %w", errAgain, err)
	}

	out.Reply = &Reply{
		Status:      res.StatusCode,
		ContentType: res.Header.Get("Content-Type"),
		TraceID:     res.Header.Get("Trace-Id"),
		Body:        body,
		header:      res.Header,
	}

	out.Refusal, err = refused(out.Trace, checkFile, out.Reply, "200 or 206")
	return err
}
