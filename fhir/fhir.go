package fhir

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/validate"
)

// Config is what a FHIR service needs. All but the optional fields must be set.
type Config struct {
	// PublicBase is the FHIR base URL that clients know. Every URL that the
	// service writes begins with it. PrivateBase, optional, is where the last
	// intermediary reaches the service. Requests under either path are taken.
	PublicBase, PrivateBase string
	Store                   Store
	// Authorize tells who asks: a grant, or why there is none.
	Authorize func(*http.Request) (*Grant, *Denial)
	Now       func() time.Time
	// MaxBody bounds a request's body in bytes; 0 means 32 MiB.
	MaxBody int64
	// StrictAttachments refuses an attachment whose size or hash does not fit its
	// data; else such a one is stored.
	StrictAttachments bool
	// Timeout bounds one search; 0 means 10 s.
	Timeout time.Duration
	// Services are the OAuth endpoints that the CapabilityStatement names,
	// by the names of the oauth-uris extension (token, register, ...). Optional.
	Services map[string]string
	// Origins are the web origins whose pages may ask with a token, exactly as
	// browsers write them. Optional: none may.
	Origins []string
	// Failed is told of failures that are not the client's; r is nil when
	// audit records could not be stored later. Optional.
	Failed func(r *http.Request, err error)
}

// Grant is what a request's token allows. The zero value allows nothing.
type Grant struct {
	Scopes   scope.Set
	Patient  string // id of the patient in context; "" for none
	Client   string // client_id
	TokenID  string // names the token without being it
	Purposes []string
	Expires  time.Time
}

// Denial is why a request has no grant.
type Denial struct {
	Status     int         // 400, 401 or 403; 503 when it could not be found out
	Header     http.Header // fields of the answer, such as WWW-Authenticate
	Trace      string      // names the record of the decision, for the header Trace-Id; may be empty
	Code, Text string      // OperationOutcome issue code (login, expired, ...), and a sentence
}

const (
	defaultMaxBody = 32 << 20
	defaultTimeout = 10 * time.Second
)

// New gives the handler of a FHIR service. It makes the store's index anew when
// it was made by other rules. The handler is an io.Closer: close it before the
// store, and what is not yet in the audit record goes there.
func New(c Config) (http.Handler, error) {
	s, err := newService(c)
	if err != nil {
		return nil, err
	}
	if err := s.prepareStore(context.Background()); err != nil {
		return nil, err
	}
	if s.capability, err = s.capabilityStatement(); err != nil {
		return nil, err
	}

	return s, nil
}

// service is one FHIR service.
type service struct {
	Config
	ex         *search.Extractor
	queries    *search.Parser
	prefixes   []string // paths of the bases
	capability []byte
	pageKey    pageKey
	routes     routes
	validator  *validate.Validator
	audit      auditor
}

func newService(c Config) (*service, error) {
	if c.Store == nil || c.Authorize == nil || c.Now == nil {
		return nil, errors.New("fhir: Store, Authorize and Now must be set")
	}

	if c.MaxBody == 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	s := &service{
		Config:    c,
		routes:    allRoutes(),
		validator: validate.New(table.R4()),
		ex:        &search.Extractor{},
		queries:   &search.Parser{Now: c.Now},
	}

	s.validator.StrictAttachments = c.StrictAttachments
	for _, base := range []string{c.PublicBase, c.PrivateBase} {
		if base == "" && len(s.prefixes) > 0 {
			continue
		}

		u, err := url.Parse(base)
		if err != nil || u.Host == "" || strings.HasSuffix(base, "/") || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("fhir: %q is not a base URL without a slash at its end", base)
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
