package fhir

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/udap/trace"
)

// Config is what a FHIR service needs. All but the optional fields must be set.
type Config struct {
	// PublicBase is the FHIR base URL that clients know. Every URL that the
	// service writes begins with it. PrivateBase, optional, is where the last
	// intermediary reaches the service. Requests under either path are taken.
	PublicBase, PrivateBase string
	Store                   Store
	// Authorize returns what a request's token allows, or why it allows nothing.
	Authorize func(*http.Request) (*Grant, *Denial)
	Now       func() time.Time
	// MaxBody bounds a request's body in bytes; 0 means 32 MiB.
	MaxBody int64
	// Labels is what the server does about security labels; the zero value is strict.
	Labels label.Policy
	// StrictAttachments refuses an attachment whose size or hash does not fit its
	// data; else such a one is stored.
	StrictAttachments bool
	// Provenance makes a Provenance of each change that a request makes, and accepts
	// those of the header X-Provenance.
	Provenance bool
	// Signatures verifies signatures of resources, and makes those of $sign. Optional:
	// without it, a Provenance or Bundle with a signature is refused.
	Signatures signature.Authority
	// Jobs does work in the background. Optional: without it, every request is
	// answered with its result, and there are no bulk data operations.
	Jobs Jobs
	// Consents is what the operator decides of the patients' Consents. The zero value
	// permits what no Consent denies.
	Consents consent.Policy
	// Timeout bounds one search; 0 means 10 s.
	Timeout time.Duration
	// MatchWait counts a request of a client for Patient/$match and returns 0, or
	// returns how long the client must wait and counts nothing. Optional: there is
	// no limit without it.
	MatchWait func(client string, now time.Time) time.Duration
	// Services are the OAuth endpoints that the CapabilityStatement names,
	// by the names of the oauth-uris extension (token, register, ...). Optional.
	Services map[string]string
	// CORS reports in the CapabilityStatement that pages of some other origins may
	// ask with a token: the server before this service lets them.
	CORS bool
	// Decided gets the trace of each refusal of access, whose id is in the answer's
	// Trace-Id, and of each decision on a signature. Optional.
	Decided func(*trace.Trace)
	// Failed is called with failures that are not the client's; r is nil when
	// audit records could not be stored later. Optional.
	Failed func(r *http.Request, err error)
}

// Denial is why a request has no grant.
type Denial struct {
	Status     int         // 400, 401 or 403; 503 when it could not be found out
	Header     http.Header // fields of the answer, such as WWW-Authenticate
	Trace      string      // names the record of the decision, for the header Trace-Id; may be empty
	Code, Text string      // OperationOutcome issue code (login, expired, ...), and a sentence
}

// DefaultMaxBody bounds a request's body, in bytes, where nothing else is configured.
const DefaultMaxBody = 32 << 20

const defaultTimeout = 10 * time.Second

// New returns a FHIR service over the configured store. It makes the store's
// index anew when that was made by other rules.
func New(c Config) (*Service, error) {
	co, err := newCore(c)
	if err != nil {
		return nil, err
	}
	if err := (&loader{co}).prepareStore(context.Background()); err != nil {
		return nil, err
	}

	w := &writer{co}
	s := &Service{
		core:       co,
		reader:     &reader{co},
		writer:     w,
		transactor: &transactor{w},
		desk:       &desk{co},
	}
	s.routes = s.allRoutes()

	s.describer = &describer{
		core:   co,
		routes: s.routes,
	}
	s.describer.statement, err = s.describer.capabilityStatement()
	s.describer.digest = sha256.Sum256(s.describer.statement)
	return s, err
}

// Service is one FHIR service. It must be closed before its store: what is not
// yet in the audit record goes there.
type Service struct {
	*core
	reader     *reader
	writer     *writer
	transactor *transactor
	desk       *desk
	describer  *describer
	routes     routes
	audit      auditor
	denials    denials
}

// core is what all parts of a service share.
type core struct {
	Config
	prefixes  []string // paths of the bases
	ex        *search.Extractor
	queries   *search.Parser
	validator *validate.Validator
	labels    *label.Labeler
	pageKey   pageKey
	compiled  *consent.Cache
}

// The parts of a service, each with one task.
type (
	// reader reads, searches and lists versions.
	reader struct{ *core }
	// writer changes one resource.
	writer struct{ *core }
	// transactor does transactions.
	transactor struct{ *writer }
	// desk accepts work for the background, and answers for it.
	desk struct{ *core }
	// describer writes the CapabilityStatement.
	describer struct {
		*core
		routes    routes
		statement []byte
		digest    [sha256.Size]byte // of the statement
		made      sync.Map          // the statement in each form that was asked for
	}
	// loader fills stores and makes their indexes.
	loader struct{ *core }
)

func newCore(c Config) (*core, error) {
	if c.Store == nil || c.Authorize == nil || c.Now == nil {
		return nil, errors.New("fhir: Store, Authorize and Now must be set")
	}

	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	labels, err := label.New(c.Labels)
	if err != nil {
		return nil, fmt.Errorf("fhir: %w", err)
	}

	s := &core{
		Config:    c,
		labels:    labels,
		validator: validate.New(table.R4()),
		ex:        &search.Extractor{Marks: labels.Marks},
		queries:   &search.Parser{Now: c.Now},
		compiled:  &consent.Cache{},
	}

	s.validator.StrictAttachments = c.StrictAttachments
	for _, base := range []string{c.PublicBase, c.PrivateBase} {
		if base == "" && len(s.prefixes) > 0 {
			continue
		}

		u, err := url.Parse(base)
		if err != nil || u.Host == "" || strings.HasSuffix(base, "/") || u.RawQuery != "" ||
			u.Fragment != "" {
			return nil, fmt.Errorf(
				"fhir: %q is not a base URL without a slash at its end",
				base,
			)
		}

		s.prefixes = append(s.prefixes, u.EscapedPath())
		s.ex.Bases = append(s.ex.Bases, base, twin(base))
	}

	s.queries.Bases = s.ex.Bases

	return s, nil
}

// twin is the base URL by the other scheme: clients write both in references.
func twin(base string) string {
	if rest, ok := strings.CutPrefix(base, "https:"); ok {
		return "http:" + rest
	}
	return "https:" + strings.TrimPrefix(base, "http:")
}
