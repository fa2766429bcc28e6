package main

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/labclient"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/report"
)

// labCommands are the words after lab, with the function of each.
var labCommands = map[string]func(context.Context, *labCall) error{
	"start":  labStart,
	"report": labReport,
	"stop":   labStop,
}

// errUnkept is returned when a report has what -fail-on names.
var errUnkept = errors.New("requirements were not kept")

// labCall is one run of originator lab.
type labCall struct {
	labFlags
	out  *printer
	now  func() time.Time
	file labFile
	lab  *labclient.Client
}

type labFlags struct {
	site    string
	console string
	sandbox string
	tlsCA   string
	file    string
	json    bool
	timeout time.Duration

	labclient.Opening
	faults texts
	only   string

	failOn  string
	outs    texts
	earlier string
	finish  bool
}

// labFile is what lab start leaves for lab report and lab stop. Who has the id may
// see and use the session, so that only its owner can read the file.
type labFile struct {
	Version int               `json:"version"`
	Root    string            `json:"root"`
	TLSCA   string            `json:"tlsCA,omitempty"`
	Session labclient.Session `json:"session"`
}

const labFileVersion = 1

// runLab runs originator lab; args are the words after lab.
func runLab(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || labCommands[args[0]] == nil {
		return complain(stderr, complaint.New("lab what?", "one of start, report, stop; see originator help lab"))
	}

	c := &labCall{
		out: &printer{
			out: stdout,
			err: stderr,
		},
		now: time.Now,
	}
	err := c.parse(args[0], args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return help([]string{"lab"}, stdout, stderr)
	}
	if err == nil {
		err = c.prepare(args[0])
	}

	if err == nil {
		err = labCommands[args[0]](ctx, c)
	}
	return c.end(err, stderr)
}

// end turns how a command ended into an exit code.
func (c *labCall) end(err error, stderr io.Writer) int {
	var usage *complaint.Complaint
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return complain(stderr, err)
	}

	fmt.Fprintf(stderr, "originator: %s\n", strings.Map(visible, err.Error()))
	return exitRefused
}

func (c *labCall) parse(command string, args []string) error {
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.site, "site", "", "")
	f.StringVar(&c.console, "console", "", "")
	f.StringVar(&c.sandbox, "sandbox", "", "")
	f.StringVar(&c.tlsCA, "tls-ca", "", "")
	f.StringVar(&c.labFlags.file, "file", "lab.json", "")
	f.BoolVar(&c.json, "json", false, "")
	f.DurationVar(&c.timeout, "timeout", 30*time.Second, "")

	switch command {
	case "start":
		f.StringVar(&c.Name, "name", "", "")
		f.StringVar(&c.Profile, "profile", "", "")
		f.StringVar(&c.Mode, "mode", "", "")
		f.Var(&c.faults, "fault", "")
		f.StringVar(&c.only, "only", "", "")
	case "report":
		f.StringVar(&c.failOn, "fail-on", "", "")
		f.Var(&c.outs, "out", "")
		f.StringVar(&c.earlier, "earlier", "", "")
		f.BoolVar(&c.finish, "finish", false, "")
	}

	words, err := interleaved(f, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return complaint.New(err.Error(), "see originator help lab")
	case len(words) > 0:
		return complaint.New(fmt.Sprintf("%q is one word too many", words[0]), "see originator help lab")
	}

	c.Faults = c.faults
	c.out.json = c.json
	return c.words()
}

// words complains about values of flags that mean nothing.
func (c *labCall) words() error {
	if !slices.Contains([]string{"", "base", "issuer", "page", "id"}, c.only) {
		return complaint.New(fmt.Sprintf("-only has no %q", c.only), "one of base, issuer, page, id")
	}
	if !slices.Contains([]string{"", string(conform.Violated), string(conform.Warned)}, c.failOn) {
		return complaint.New(fmt.Sprintf("-fail-on has no %q", c.failOn), "one of violated, warned")
	}

	for _, name := range c.outs {
		if !report.Known(name) {
			return complaint.New(
				fmt.Sprintf("-out %s: what form?", name),
				"a file that ends in .html, .json, .xml or .svg",
			)
		}
	}

	return nil
}

// prepare finds out which lab is meant: by flags for start, else by the file that
// start left, and flags go before it.
func (c *labCall) prepare(command string) error {
	root, err := c.root()
	if err != nil {
		return err
	}

	if command != "start" {
		if err := c.recall(); err != nil {
			return err
		}
		orElse(&root, c.file.Root)
		orElse(&c.tlsCA, c.file.TLSCA)
	}
	if root == "" {
		return complaint.New("no lab is named",
			"give the URL of its public site (-site), of its console (-console), or -sandbox DIR")
	}

	roots, err := labRoots(c.tlsCA)
	if err != nil {
		return err
	}

	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig.RootCAs = roots
	c.lab = &labclient.Client{
		Root: root,
		HTTP: &http.Client{
			Transport: transport,
			Timeout:   c.timeout,
		},
	}
	c.file.Version, c.file.Root, c.file.TLSCA = labFileVersion, root, c.tlsCA
	return nil
}

// root returns the URL of the lab that the flags name; empty when they name none.
func (c *labCall) root() (string, error) {
	if c.site != "" && c.console != "" {
		return "", complaint.New("both -site and -console are given", "give one of them")
	}

	if c.sandbox != "" {
		m, err := readManifest(c.sandbox)
		if err != nil {
			return "", complaint.New(err.Error(), "-sandbox names the directory of a running sandbox (its -dir)")
		}
		if c.site == "" && c.console == "" {
			c.site = m.Lab
		}
		orElse(&c.tlsCA, filepath.Join(c.sandbox, m.TLSCA))
	}

	if c.tlsCA != "" {
		abs, err := filepath.Abs(c.tlsCA)
		if err != nil {
			return "", err
		}
		c.tlsCA = abs
	}

	url := c.site
	orElse(&url, c.console)
	if url == "" {
		return "", nil
	}
	return strings.TrimSuffix(strings.TrimRight(url, "/"), "/lab") + "/lab", nil
}

func labRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // those of the system
	}

	list, err := certs.LoadCertificates(file)
	if err != nil {
		return nil, complaint.New(err.Error(), "-tls-ca names a PEM file with the anchors of web servers")
	}

	pool := x509.NewCertPool()
	for _, cert := range list {
		pool.AddCert(cert)
	}
	return pool, nil
}

// recall reads the file that lab start left.
func (c *labCall) recall() error {
	data, err := os.ReadFile(c.labFlags.file)
	if errors.Is(err, fs.ErrNotExist) {
		return complaint.New("there is no "+c.labFlags.file,
			"originator lab start makes it; name another one by -file")
	}

	if err == nil {
		err = json.Unmarshal(data, &c.file)
	}
	if err != nil || c.file.Version != labFileVersion || c.file.Session.ID == "" {
		return complaint.New(fmt.Sprintf("%s is no file of lab start (%v)", c.labFlags.file, err),
			"remove it, or name another one by -file")
	}
	return nil
}

// labStart opens a session and prints where a client is to be pointed.
func labStart(ctx context.Context, c *labCall) error {
	s, err := c.lab.Open(ctx, c.Opening)
	if err != nil {
		return err
	}

	c.file.Session = *s
	text, err := json.Marshal(c.file, jsontext.WithIndent("  "))
	if err == nil {
		err = certs.WriteFile(c.labFlags.file, append(text, '\n'), certs.ModeSecret)
	}
	if err != nil {
		return err
	}

	if c.json {
		return c.emit(s)
	}

	lines := []struct{ name, value string }{
		{"base", s.Base},
		{"issuer", s.Issuer},
		{"page", s.Page},
		{"id", s.ID},
	}
	for _, l := range lines {
		switch c.only {
		case "":
			c.out.say("%-8s %s", l.name, l.value)
		case l.name:
			c.out.say("%s", l.value)
		}
	}
	return nil
}

func (c *labCall) emit(v any) error {
	text, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err == nil {
		_, err = fmt.Fprintf(c.out.out, "%s\n", text)
	}
	return err
}

// labReport prints what the session found, and writes the report to files.
func labReport(ctx context.Context, c *labCall) error {
	fetch := c.lab.Report
	if c.finish {
		fetch = c.lab.Finish
	}
	r, err := fetch(ctx, c.file.Session.ID)
	if err != nil {
		return err
	}
	if r, err = compared(r, c.earlier); err != nil {
		return err
	}

	if err := errors.Join(writeReports(r, c.outs), c.show(r)); err != nil {
		return err
	}
	if c.failOn != "" && r.Fails(conform.Verdict(c.failOn)) {
		return errUnkept
	}
	return nil
}

// writeReports writes a report to files, in the forms that their names end in.
func writeReports(r *report.Report, names []string) error {
	for _, name := range names {
		text, _, err := r.Render(name)
		if err == nil {
			err = certs.WriteFile(name, text, certs.ModePublic)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compared returns the report with its difference to the one in a file, that of
// -earlier; empty: none. A file that is not there is no mistake: the first run has none.
func compared(r *report.Report, file string) (*report.Report, error) {
	if file == "" {
		return r, nil
	}

	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, complaint.New(err.Error(), "-earlier names the JSON report of an earlier run")
	}

	earlier, err := report.Parse(text)
	if err != nil {
		return nil, complaint.New(file+": "+err.Error(), "-earlier names the JSON report of an earlier run")
	}

	found := report.Found{
		Rows:   r.Rows,
		Faults: r.Faults,
		Notes:  r.Notes,
	}
	return report.New(r.About, found, earlier, r.Made)
}

func (c *labCall) show(r *report.Report) error {
	if c.json {
		text, err := r.JSON()
		if err == nil {
			_, err = c.out.out.Write(text)
		}
		return err
	}

	for _, v := range []conform.Verdict{conform.Violated, conform.Warned} {
		for _, o := range r.With(v) {
			c.out.say("%-8s %s %s: %s", v, o.Row, o.Title, o.Text)
			for _, l := range []struct{ name, text string }{
				{"expected", o.Expected},
				{"found", o.Found},
				{"remedy", o.Remedy},
				{"rule", o.Section},
			} {
				if l.text != "" {
					c.out.say("         %s: %s", l.name, l.text)
				}
			}
		}
	}
	for _, f := range r.Faults {
		c.out.say("%-8s %s: %s", f.Outcome, f.Name, f.Text)
	}

	showSummary(c.out, r)
	return nil
}

// showSummary prints how many requirements have each verdict, and the difference to an
// earlier report.
func showSummary(out *printer, r *report.Report) {
	s := r.Summary
	out.say("%d violated, %d warned, %d shown, %d not exercised", s.Violated, s.Warned, s.Shown, s.NotExercised)
	if d := r.Difference; d != nil {
		out.say("%d better, %d worse than in the report of %s", d.Better(), d.Worse(), d.Made.Format(time.RFC3339))
	}
}

// labStop removes the session, and the file.
func labStop(ctx context.Context, c *labCall) error {
	err := c.lab.Close(ctx, c.file.Session.ID)
	var refusal *labclient.Refusal
	if errors.As(err, &refusal) && refusal.Status == http.StatusNotFound {
		err = nil // it has expired
	}
	if err != nil {
		return err
	}
	return os.Remove(c.labFlags.file)
}
