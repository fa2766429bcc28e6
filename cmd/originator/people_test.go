package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"fhirdest.example/certs"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest"
)

const password = "correct horse battery staple"

// TestPeopleScripts are sessions with a person at a destination that has people.
func TestPeopleScripts(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		yes := true
		w.Config.Communities[0].Policy.AllowLoopbackRedirect = &yes
		w.Config.Users = "users.json"
		populate(t, w, "none")
	})
	patient := aPatient(t, d)
	populate(t, d.Env, patient)
	d.Reload <- struct{}{}
	d.Reload <- struct{}{} // received when the first has been done

	testscript.Run(t, testscript.Params{
		Dir: "testdata/people",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATIENT", patient)
			env.Setenv("REDIRECT", freeRedirect(t))
			env.Setenv("TLS", filepath.Join(env.WorkDir, "tls.pem"))
			return furnish(t, d, env)
		},
	})
}

func populate(t *testing.T, w *servertest.Env, patient string) {
	t.Helper()
	hash, err := users.Hash(password)
	if err == nil {
		err = users.Write(filepath.Join(w.Dir, "users.json"), []users.User{{
			Username: "alice",
			Name:     "Alice Patient",
			Subject:  "subject-of-alice",
			FHIRUser: "Patient/" + patient,
			Password: hash,
		}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// aPatient returns the id of one of the destination's patients.
func aPatient(t *testing.T, d *servertest.Destination) string {
	t.Helper()
	s := d.Session(d.A, d.Client(d.A, "https://reader.test/app"), "system/Patient.rs")
	_, text := d.Get("/acme/fhir/Patient?_elements=id", "Authorization", "Bearer "+s.Token.Access)
	m := regexp.MustCompile(`"fullUrl":"[^"]*/Patient/([^"]+)"`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no patient in %s", text)
	}
	return m[1]
}

// person is a browser with somebody in front of it:
//
//	person USERNAME approve|deny [SCOPE...] URL
//
// It signs in where it is asked to, unticks the scopes and decides.
func person() {
	args := os.Args[1:]
	if len(args) < 3 {
		fmt.Fprintln(os.Stderr, "person: too few words")
		os.Exit(2)
	}

	p := &visitor{
		username: args[0],
		decision: args[1],
		unticked: args[2 : len(args)-1],
	}
	if err := p.visit(args[len(args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, "person:", err)
		os.Exit(1)
	}
}

// visitor is a person with a browser.
type visitor struct {
	username, decision string
	unticked           []string

	browser *http.Client
	page    string
}

var (
	formPattern  = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputPattern = regexp.MustCompile(`<input[^>]*>`)
)

// errLeft: the browser is back at the client.
var errLeft = errors.New("the browser is back at the client")

func (p *visitor) visit(target string) error {
	anchors, err := certs.LoadCertificates(os.Getenv("TLS"))
	if err != nil {
		return err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}

	roots := x509.NewCertPool()
	roots.AddCert(anchors[0])
	p.browser = &http.Client{
		Jar: jar,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "fhir.test:") {
					address = os.Getenv("CONNECT")
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}

	err = p.do(http.MethodGet, target, nil)
	for step := 0; err == nil && step < 5; step++ {
		if action, fields, ok := p.form("signin"); ok {
			fields.Set("username", p.username)
			fields.Set("password", password)
			err = p.do(http.MethodPost, action, fields)
			continue
		}

		action, fields, ok := p.form(p.decision)
		if !ok {
			return fmt.Errorf("a page without a form: %s", p.page)
		}
		kept := slices.DeleteFunc(fields["scope"], func(s string) bool { return slices.Contains(p.unticked, s) })
		fields["scope"] = kept
		err = p.do(http.MethodPost, action, fields)
	}

	if errors.Is(err, errLeft) {
		return nil
	}
	return err
}

// do makes a request and follows its redirects, up to the client's redirect URI.
func (p *visitor) do(method, target string, fields url.Values) error {
	for {
		var body io.Reader
		if fields != nil {
			body = strings.NewReader(fields.Encode())
		}
		req, err := http.NewRequest(method, target, body)
		if err != nil {
			return err
		}
		if fields != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", "null")
			req.Header.Set("Sec-Fetch-Site", "same-origin")
		}

		res, err := p.browser.Do(req)
		if err != nil {
			return err
		}
		page, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return err
		}

		p.page = string(page)
		if strings.HasPrefix(target, "http://") {
			return errLeft
		}
		location := res.Header.Get("Location")
		if location == "" {
			return nil
		}
		method, target, fields = http.MethodGet, location, nil
	}
}

// form returns the form of the page that has a button of a value.
func (p *visitor) form(do string) (action string, fields url.Values, ok bool) {
	for _, f := range formPattern.FindAllStringSubmatch(p.page, -1) {
		if !strings.Contains(f[2], `value="`+do+`"`) {
			continue
		}

		fields = url.Values{"do": {do}}
		for _, tag := range inputPattern.FindAllString(f[2], -1) {
			checkbox := strings.Contains(tag, `type="checkbox"`)
			if name := attribute(tag, "name"); name != "" && (!checkbox || strings.Contains(tag, " checked")) {
				fields.Add(name, attribute(tag, "value"))
			}
		}
		return html.UnescapeString(f[1]), fields, true
	}

	return "", nil, false
}

func attribute(tag, name string) string {
	m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}
