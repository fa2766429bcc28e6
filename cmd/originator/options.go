package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"fhirdest.example/fhir/signature"
	"fhirdest.example/gateway/complaint"
)

var errHelp = errors.New("help")

// options are the flags of all commands. Those of group remembered are kept in
// the session file, so that the next command need not repeat them.
type options struct {
	command string
	args    []string

	remembered

	session string
	sandbox string
	client  string
	json    bool
	quiet   bool
	timeout time.Duration

	name           string
	contacts       texts
	scope          string
	grants         texts
	redirects      texts
	logo           string
	page           string
	tos            string
	policy         string
	certifications texts

	purposes        texts
	subjectName     string
	subjectID       string
	subjectRole     string
	consentPolicies texts
	consentRefs     texts
	extensions      texts
	noB2B           bool
	refresh         bool
	dpop            bool

	idp       string
	launch    string
	prompt    string
	loginHint string
	browser   string
	maxAge    time.Duration // negative: not asked for
	wait      time.Duration
	paste     bool

	output  string
	form    string
	certain bool
	count   int

	types     string
	since     string
	until     string
	elements  string
	include   string
	filters   texts
	patients  texts
	to        string
	parallel  int
	keepThere bool

	check checkFlags
}

// remembered is who we are, whom we trust and where we connect. Paths are
// kept absolute; passwords are never kept, only the file that holds one.
type remembered struct {
	Base        string `json:"base"`
	Community   string `json:"community,omitempty"`
	Cert        string `json:"cert,omitempty"`
	Key         string `json:"key,omitempty"`
	P12         string `json:"p12,omitempty"`
	P12Password string `json:"p12PasswordFile,omitempty"`
	URI         string `json:"uri,omitempty"`
	Algorithm   string `json:"alg,omitempty"`
	Anchors     texts  `json:"anchors,omitempty"`
	TLSCA       string `json:"tlsCA,omitempty"`
	Connect     string `json:"connect,omitempty"`
	ConnectName string `json:"connectName,omitempty"`
	Revocation  string `json:"revocation,omitempty"`
	Allow       texts  `json:"allow,omitempty"`
	Lists       texts  `json:"lists,omitempty"`
	AIA         texts  `json:"aia,omitempty"`
	Evidence    string `json:"evidence,omitempty"`

	Organization     string `json:"organization,omitempty"`
	OrganizationName string `json:"organizationName,omitempty"`
	LoopbackHTTP     bool   `json:"loopbackHTTP,omitempty"`
}

// texts is a flag that may be given several times.
type texts []string

func (t *texts) String() string { return strings.Join(*t, " ") }

func (t *texts) Set(s string) error {
	*t = append(*t, s)
	return nil
}

func parseOptions(command string, args []string) (*options, error) {
	o := &options{command: command}
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.common(f)

	switch command {
	case "register", "cancel":
		o.registration(f)
	case "token":
		o.tokenFlags(f)
		f.BoolVar(&o.refresh, "refresh", false, "")
		f.BoolVar(&o.dpop, "dpop", false, "")
	case "login":
		o.loginFlags(f)
	case "get":
		f.StringVar(&o.output, "o", "", "")
	case "match":
		f.StringVar(&o.output, "o", "", "")
		f.BoolVar(&o.certain, "certain", false, "")
		f.IntVar(&o.count, "count", 0, "")
	case "export":
		o.exportFlags(f)
	case "check":
		o.checkFlags(f)
	case "sign":
		f.StringVar(&o.output, "o", "", "")
		f.StringVar(&o.form, "canon", "", "")
	}

	words, err := interleaved(f, args)
	if errors.Is(err, flag.ErrHelp) {
		return nil, errHelp
	}
	if err != nil {
		return nil, complaint.New(err.Error(), "see originator help "+command)
	}

	o.args = words
	return o, o.positional()
}

func (o *options) common(f *flag.FlagSet) {
	f.StringVar(&o.Base, "base", "", "")
	f.StringVar(&o.Community, "community", "", "")
	f.StringVar(&o.Cert, "cert", "", "")
	f.StringVar(&o.Key, "key", "", "")
	f.StringVar(&o.P12, "p12", "", "")
	f.StringVar(&o.P12Password, "p12-password-file", "", "")
	f.StringVar(&o.URI, "uri", "", "")
	f.StringVar(&o.Algorithm, "alg", "", "")

	f.Var(&o.Anchors, "anchor", "")
	f.StringVar(&o.TLSCA, "tls-ca", "", "")
	f.StringVar(&o.Connect, "connect", "", "")
	f.StringVar(&o.ConnectName, "connect-name", "", "")
	f.BoolVar(&o.LoopbackHTTP, "loopback-http", false, "")
	f.StringVar(&o.Revocation, "revocation", "", "")
	f.Var(&o.Allow, "allow", "")
	f.Var(&o.Lists, "list", "")

	f.Var(&o.AIA, "aia", "")

	f.StringVar(&o.Evidence, "evidence", "", "")
	f.StringVar(&o.session, "session", "originator.json", "")
	f.StringVar(&o.sandbox, "sandbox", "", "")
	f.StringVar(&o.client, "client", "", "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.quiet, "quiet", false, "")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "")
}

func (o *options) registration(f *flag.FlagSet) {
	f.StringVar(&o.name, "name", "", "")
	f.Var(&o.contacts, "contact", "")
	f.StringVar(&o.scope, "scope", "", "")
	f.Var(&o.grants, "grant", "")
	f.Var(&o.redirects, "redirect", "")
	f.StringVar(&o.logo, "logo", "", "")
	f.StringVar(&o.page, "page", "", "")
	f.StringVar(&o.tos, "tos", "", "")

	f.StringVar(&o.policy, "policy", "", "")
	f.Var(&o.certifications, "certification", "")
}

func (o *options) tokenFlags(f *flag.FlagSet) {
	f.StringVar(&o.scope, "scope", "", "")
	f.StringVar(&o.Organization, "organization", "", "")
	f.StringVar(&o.OrganizationName, "organization-name", "", "")
	f.Var(&o.purposes, "purpose", "")
	f.StringVar(&o.subjectName, "subject-name", "", "")
	f.StringVar(&o.subjectID, "subject-id", "", "")
	f.StringVar(&o.subjectRole, "subject-role", "", "")
	f.Var(&o.consentPolicies, "consent-policy", "")

	f.Var(&o.consentRefs, "consent-reference", "")
	f.Var(&o.extensions, "extension", "")
	f.BoolVar(&o.noB2B, "no-b2b", false, "")
}

func (o *options) loginFlags(f *flag.FlagSet) {
	f.StringVar(&o.scope, "scope", "", "")
	f.Var(&o.redirects, "redirect", "")
	f.BoolVar(&o.dpop, "dpop", false, "")
	f.StringVar(&o.idp, "idp", "", "")
	f.StringVar(&o.launch, "launch", "", "")
	f.StringVar(&o.prompt, "prompt", "", "")
	f.StringVar(&o.loginHint, "login-hint", "", "")
	f.DurationVar(&o.maxAge, "max-age", -1, "")

	f.StringVar(&o.browser, "browser", "", "")
	f.BoolVar(&o.paste, "paste", false, "")
	f.DurationVar(&o.wait, "wait", 5*time.Minute, "")
	f.Var(&o.extensions, "extension", "")
}

func (o *options) exportFlags(f *flag.FlagSet) {
	f.StringVar(&o.types, "type", "", "")
	f.StringVar(&o.since, "since", "", "")
	f.StringVar(&o.until, "until", "", "")
	f.StringVar(&o.elements, "elements", "", "")
	f.StringVar(&o.include, "include", "", "")
	f.Var(&o.filters, "filter", "")
	f.Var(&o.patients, "patient", "")

	f.StringVar(&o.to, "to", "export", "")
	f.IntVar(&o.parallel, "parallel", 4, "")
	f.BoolVar(&o.keepThere, "keep", false, "")
}

// readsFiles reports whether the command is about files alone, and asks no destination.
func (o *options) readsFiles() bool {
	return o.command == "match" || o.command == "sign" || o.command == "verify"
}

// interleaved allows words before, between and after the flags.
func interleaved(f *flag.FlagSet, args []string) ([]string, error) {
	var words []string
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if f.NArg() == 0 {
			return words, nil
		}

		words = append(words, f.Arg(0))
		args = f.Args()[1:]
	}
}

// positional gives the words their meaning: a path for get, a file for match, what is
// exported for export, else the base.
func (o *options) positional() error {
	most := 1
	if o.command == "verify" {
		most = 1 + signature.MaxTargets
	}
	if len(o.args) > most {
		return complaint.New(fmt.Sprintf("%q is one word too many", o.args[most]),
			"see originator help "+o.command)
	}
	if o.command == "get" {
		if len(o.args) == 0 {
			return complaint.New(
				"get what?",
				"a path under the FHIR base, for example: originator get 'Patient?_count=5'",
			)
		}

		return nil
	}

	if o.readsFiles() && len(o.args) == 0 {
		return complaint.New(o.command+" what?", "a file with one resource in JSON")
	}
	if o.command == "export" || o.readsFiles() {
		return nil
	}

	if len(o.args) == 1 {
		if o.Base != "" {
			return complaint.New("the base URL is given twice", "either -base URL or the URL alone")
		}
		o.Base = o.args[0]
	}

	return nil
}
