package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/scripts/drive"
	"fhirdest.example/scripts/measure"
	"fhirdest.example/udap"
)

// clients is how many connections send requests.
const clients = 8

// tokenForm is a token request of a client, with a certificate that the destination has
// never met.
func (s *side) tokenForm(i int) (string, error) {
	id, err := s.member(string(clientURI(i)), time.Time{})
	if err != nil {
		return "", err
	}

	now := time.Now()
	claims := fmt.Sprintf(`{"iss":%q,"sub":%[1]q,"aud":%q,"iat":%d,"exp":%d,"jti":%q,"extensions":{"hl7-b2b":`+
		`{"version":"1","organization_name":"Growth clinic","organization_id":"https://clinic.test/organization/1",`+
		`"purpose_of_use":["urn:oid:2.16.840.1.113883.5.8#TREAT"]}}}`,
		clientID(i), tokenURL, now.Unix(), now.Add(4*time.Minute).Unix(), rand.Text())
	assertion, err := udap.Sign(id.Key, id.Chain[:2], "", []byte(claims))
	return url.Values{
		"grant_type":            {"client_credentials"},
		"udap":                  {"1"},
		"scope":                 {scopes},
		"client_assertion":      {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}.Encode(), err
}

// tokens measures the first tokens of clients at random, since it was started.
func (s *side) tokens(ctx context.Context) (measure.Values, error) {
	requests, err := s.tokenRequests()
	if err != nil {
		return nil, err
	}
	return s.send(ctx, requests)
}

// tokenRequests are of clients at random, one of each.
func (s *side) tokenRequests() (requests [][]byte, err error) {
	const most = 1000
	for _, i := range mathrand.Perm(s.registrations)[:min(most, s.registrations)] {
		form, err := s.tokenForm(i)
		if err != nil {
			return nil, err
		}
		requests = append(requests, fmt.Appendf(nil, "POST /acme/oauth/token HTTP/1.1\r\nHost: fhir.test\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form))
	}

	return requests, nil
}

// send sends requests, and returns the processor time that the destination needed for
// one.
func (s *side) send(ctx context.Context, requests [][]byte) (measure.Values, error) {
	dial := func() (net.Conn, error) { return s.dial(ctx) }
	return drive.Send(dial, clients, requests, func() time.Duration { return measure.CPUOf(s.process.PID()) })
}

// kind is a kind of requests for resources.
type kind struct {
	name string
	n    int // in a round
	next func(s *side, r drive.Requests) []byte
}

// get asks for the same thing every time.
func get(target string) func(*side, drive.Requests) []byte {
	return func(_ *side, r drive.Requests) []byte { return r.Get(target) }
}

func plain(next func(drive.Requests) []byte) func(*side, drive.Requests) []byte {
	return func(_ *side, r drive.Requests) []byte { return next(r) }
}

// everything asks for all of a patient, a page of it.
func everything(s *side, r drive.Requests) []byte {
	id := r.Patients[mathrand.IntN(len(r.Patients))]
	return r.Get("/Patient/" + id + "/$everything?_count=100")
}

var kinds = []kind{
	{"read", 2000, plain(drive.Requests.Read)},
	{"search of 20", 400, plain(drive.Requests.Search)},
	{"create", 400, plain(drive.Requests.Create)},
	{"transaction of 10", 50, plain(drive.Requests.Transaction)},
	{"$everything", 100, everything},
	{"all of a type, first page", 500, get("/Observation?_count=20&_total=none")},
	{deepName, 500, func(s *side, r drive.Requests) []byte { return r.Get(s.deep) }},
	{"_sort", 500, get("/Observation?_sort=-date&_count=20&_total=none")},
	{"_sort with a total", 20, get("/Observation?_sort=-date&_count=20")},
	{"_total=accurate", 100, get("/Observation?code=8867-4&_total=accurate&_count=20")},
	{"_has", 100, get("/Patient?_has:Observation:patient:code=8867-4&_count=20&_total=none")},
	{"_has with a total", 10, get("/Patient?_has:Observation:patient:code=8867-4&_count=20")},
	{"chained", 100, get("/Observation?patient.gender=female&_count=20&_total=none")},
	{"chained with a total", 10, get("/Observation?patient.gender=female&_count=20")},
}

// ask measures requests of a kind.
func (s *side) ask(ctx context.Context, k kind) (measure.Values, error) {
	r := s.fhir()
	requests := make([][]byte, k.n)
	for i := range requests {
		requests[i] = k.next(s, r)
	}
	return s.send(ctx, requests)
}

func (s *side) fhir() drive.Requests {
	r := drive.Requests{
		Base:  "/acme/fhir",
		Token: s.token,
	}
	for i := range s.patients {
		r.Patients = append(r.Patients, sample.PatientID(i))
	}
	return r
}

// authorize gets a token for all resources.
func (s *side) authorize(ctx context.Context) error {
	form, err := s.tokenForm(0)
	if err != nil {
		return err
	}

	text, err := s.fetch(ctx, "POST", tokenURL, form)
	if err != nil {
		return err
	}

	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &token); err != nil {
		return err
	}

	s.token = token.Access
	return nil
}

// deepPage is the number of the page that is far behind, and perPage its entries: so
// the smallest population has that many pages.
const (
	deepPage = 1000
	perPage  = 3
	deepName = "deep page"
)

// goDeep finds that page.
func (s *side) goDeep(ctx context.Context) error {
	next := base + fmt.Sprintf("/Observation?_count=%d&_total=none", perPage)
	for page := 1; page < deepPage; page++ {
		text, err := s.fetch(ctx, "GET", next, "")
		if err != nil {
			return err
		}

		var bundle struct {
			Link []struct{ Relation, URL string }
		}
		if err := json.Unmarshal(text, &bundle, json.MatchCaseInsensitiveNames(true)); err != nil {
			return err
		}

		next = ""
		for _, l := range bundle.Link {
			if l.Relation == "next" {
				next = l.URL
			}
		}

		if next == "" {
			return tooSmall(s.resources, page)
		}
	}

	s.deep = strings.TrimPrefix(next, base)
	return nil
}

// tooSmall is the error for a population that has a number of pages only.
func tooSmall(resources, pages int) error {
	const step = 100
	need := (resources*(deepPage+1)/pages/step + 1) * step
	return fmt.Errorf("%d resources have %d pages of %d Observations, and page %d is measured: "+
		"give -resources at least %d", resources, pages, perPage, deepPage, need)
}

// fetch sends one request and returns the body.
func (s *side) fetch(ctx context.Context, method, target, form string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form))
	if err != nil {
		return nil, err
	}

	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}

	res, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()

	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %.500s", target, res.Status, text)
	}
	return text, err
}
