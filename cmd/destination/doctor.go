package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
	"fhirdest.example/server/doctor"
	"fhirdest.example/udap/trace"
)

const doctorUsage = `usage: destination doctor -config FILE [options]
       destination doctor [options] URL...

Examines from outside, as a stranger would, how a running destination and its
gateway keep their communication secure: versions and suites of TLS, keys, chains,
names and dates of certificates, HTTP/2, plain HTTP and redirects, the headers of
all answers, what refusals disclose, CORS, and the clock. It has no token, sends
nothing secret and changes nothing.

  -config FILE        the destination's configuration: its public and its private
                      base URL are examined, and its certificates' dates
  -public HOST:PORT   connect to this address for the public base
  -private HOST:PORT  connect to this address for the private base; default: the
                      address that it listens on, where the name is not known here
  -ca FILE            PEM file of root certificates that count beside the system's
  -json               print one JSON object for programs

Grades: good, nothing was found; adequate, something could be better; poor,
something must be mended. Each finding has a remedy.

Examples:
  destination doctor -config /etc/destination.yaml
  destination doctor -config sandbox/destination.yaml -ca sandbox/tls/ca.pem
  destination doctor https://fhir.example.org/acme/fhir
Exit codes: 0 good or adequate; 1 poor; 2 usage or configuration.
`

// examined is the command line of "destination doctor".
type examined struct {
	config string
	dial   map[string]string // by the name of a place
	ca     string
	json   bool
	urls   []string
}

// diagnosis is what the command prints with -json.
type diagnosis struct {
	Grade    doctor.Grade     `json:"grade"`
	Places   []*doctor.Report `json:"places"`
	Warnings []string         `json:"warnings"` // about the configuration's own files
}

// runDoctor runs "destination doctor".
func runDoctor(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseDoctor(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, doctorUsage)
		return 0
	}
	if err != nil {
		complaint.Print(stderr, complaint.New(err.Error(), "destination doctor -h shows the options"))
		return 2
	}

	d, err := o.examine(ctx)
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}

	if o.json {
		err = json.MarshalWrite(stdout, d, jsontext.WithIndent("  "))
		fmt.Fprintln(stdout)
	} else {
		d.print(stdout)
	}

	if err != nil || d.Grade == doctor.Poor {
		return 1
	}
	return 0
}

func parseDoctor(args []string) (examined, error) {
	o := examined{dial: map[string]string{}}
	var public, private string
	f := flag.NewFlagSet("destination doctor", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.config, "config", "", "")
	f.StringVar(&public, "public", "", "")
	f.StringVar(&private, "private", "", "")
	f.StringVar(&o.ca, "ca", "", "")

	f.BoolVar(&o.json, "json", false, "")

	err := f.Parse(args)
	o.dial["public"], o.dial["private"], o.urls = public, private, f.Args()
	switch {
	case err != nil:
		return o, err
	case o.config == "" && len(o.urls) == 0:
		return o, errors.New("neither a configuration nor a URL is named")
	case o.config != "" && len(o.urls) > 0:
		return o, errors.New("both a configuration and a URL are named")
	case o.config == "" && public+private != "":
		return o, errors.New("-public and -private are for -config FILE")
	}

	return o, nil
}

// examine examines each place after the other.
func (o examined) examine(ctx context.Context) (*diagnosis, error) {
	roots, err := o.roots()
	if err != nil {
		return nil, err
	}

	d := &diagnosis{Warnings: []string{}}
	var places []doctor.Place
	for _, u := range o.urls {
		places = append(places, doctor.Place{
			Name: "server",
			Base: u,
		})
	}

	if o.config != "" {
		cfg, err := read(o.config)
		if err != nil {
			return nil, err
		}
		places = cfg.Places()
		d.Warnings = append(d.Warnings, cfg.Warnings(time.Now())...)
		o.listening(cfg)
	}

	for _, p := range places {
		d.Places = append(d.Places, doctor.Examine(ctx, doctor.Config{
			Now:   time.Now,
			Roots: roots,
			Dial:  o.dialer(p),
		}, p))
	}

	d.Grade = doctor.Worst(d.Places)
	if d.Grade == doctor.Good && len(d.Warnings) > 0 {
		d.Grade = doctor.Adequate
	}
	return d, nil
}

// listening has the private base dialed at the destination's own address where its
// name is not known on this machine.
func (o examined) listening(cfg server.Config) {
	u, err := url.Parse(cfg.Private)
	if err != nil || o.dial["private"] != "" || cfg.Private == "" {
		return
	}
	if _, err := net.LookupHost(u.Hostname()); err != nil {
		o.dial["private"] = cfg.Listen
	}
}

func (o examined) roots() (*x509.CertPool, error) {
	if o.ca == "" {
		return nil, nil // the system's
	}

	list, err := certs.LoadCertificates(o.ca)
	if err != nil {
		return nil, complaint.New(err.Error(), "name a PEM file of root certificates")
	}

	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, c := range list {
		pool.AddCert(c)
	}

	return pool, nil
}

// dialer connects to a place at the address that the command line names for it, and to
// the other ports of that host.
func (o examined) dialer(p doctor.Place) func(context.Context, string, string) (net.Conn, error) {
	at := o.dial[p.Name]
	host, _, err := net.SplitHostPort(at)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		switch {
		case err != nil: // none is named
		case address == p.Address():
			address = at
		default:
			_, port, _ := net.SplitHostPort(address) // the examination made it
			address = net.JoinHostPort(host, port)
		}

		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

// verdicts are how each verdict is shown.
var verdicts = map[trace.Verdict]string{
	trace.Passed:  "ok",
	trace.Warned:  "WARN",
	trace.Refused: "FAIL",
	trace.Skipped: "--",
}

// print prints the findings for a person.
func (d *diagnosis) print(w io.Writer) {
	for _, r := range d.Places {
		fmt.Fprintf(w, "%s %s: %s (%d wrong, %d doubtful)\n", r.Name, certs.Printable(r.Base), r.Grade, r.Wrong,
			r.Doubtful)
		for _, s := range r.Trace.Steps {
			printStep(w, s)
		}
	}

	for _, text := range d.Warnings {
		fmt.Fprintf(w, "WARN  %s\n", certs.Printable(text))
	}
	fmt.Fprintf(w, "grade: %s\n", d.Grade)
}

func printStep(w io.Writer, s trace.Step) {
	text := s.Title
	if s.Found != "" && (s.Verdict == trace.Passed || s.Verdict == trace.Skipped) {
		text = s.Found
	}
	fmt.Fprintf(w, "  %-4s  %-18s  %s\n", verdicts[s.Verdict], s.Check, certs.Printable(text))
	if s.Verdict == trace.Passed || s.Verdict == trace.Skipped {
		return
	}

	for _, line := range []struct{ name, text string }{
		{"expected", s.Expected},
		{"found", s.Found},
		{"hint", s.Remedy},
	} {
		if line.text != "" {
			fmt.Fprintf(w, "        %s: %s\n", line.name, certs.Printable(line.text))
		}
	}
}
