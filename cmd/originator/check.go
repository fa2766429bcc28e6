package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
	"fhirdest.example/udap/conform/report"
)

// checkFlags are what an examination has beside an originator's certificate.
type checkFlags struct {
	profile string
	reports texts
	earlier string

	issuer  issuerFlags
	other   issuerFlags
	revoked keyPair

	user         string
	userPassword string // file
	password     string // of a sandbox's user
}

// issuerFlags are a CA that makes certificates for the examination.
type issuerFlags struct {
	keyPair
	crl string // distribution point
}

// keyPair are two files.
type keyPair struct{ cert, key string }

func (o *options) checkFlags(f *flag.FlagSet) {
	c := &o.check
	f.StringVar(&c.profile, "profile", string(conform.SSRAA2), "")
	f.Var(&c.reports, "report", "")
	f.StringVar(&c.earlier, "earlier", "", "")

	f.StringVar(&c.issuer.cert, "issuer-cert", "", "")
	f.StringVar(&c.issuer.key, "issuer-key", "", "")
	f.StringVar(&c.issuer.crl, "issuer-crl", "", "")
	f.StringVar(&c.other.cert, "other-issuer-cert", "", "")
	f.StringVar(&c.other.key, "other-issuer-key", "", "")
	f.StringVar(&c.other.crl, "other-issuer-crl", "", "")
	f.StringVar(&c.revoked.cert, "revoked-cert", "", "")
	f.StringVar(&c.revoked.key, "revoked-key", "", "")

	f.StringVar(&c.user, "user", "", "")
	f.StringVar(&c.userPassword, "user-password-file", "", "")

	f.StringVar(&o.scope, "scope", "", "")
	f.StringVar(&o.Organization, "organization", "", "")
	f.Var(&o.purposes, "purpose", "")
	f.Var(&o.certifications, "certification", "")
}

// examiner is one run of originator check.
type examiner struct{ *call }

// check examines a destination, row by row.
func check(ctx context.Context, whole *call) error {
	c := examiner{whole}
	s, err := c.examination()
	if err != nil {
		return err
	}

	r, err := examine.Run(ctx, s)
	if err != nil {
		hint := "an examination needs a member's certificate (-cert and -key, or -p12) and -anchor"
		if text := err.Error(); strings.Contains(text, "URL") {
			hint = "the base URL begins with https; -loopback-http is for a server under development"
		}
		return complaint.New(strings.TrimPrefix(err.Error(), "examine: "), hint)
	}

	made, err := c.reported(r)
	if err != nil {
		return err
	}
	if err := errors.Join(writeReports(made, c.check.reports), c.showExamined(made)); err != nil {
		return err
	}
	return c.verdict(ctx, r, made)
}

// verdict is the error of an examination: nil when every row that was exercised is
// shown, or a warning at most.
func (c examiner) verdict(ctx context.Context, r *examine.Report, made *report.Report) error {
	if ctx.Err() == nil && r.Count(conform.NotExercised) == len(r.Findings) {
		return c.unreached(ctx)
	}

	var wrong []string
	if n := made.Summary.Violated; n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d requirements are violated", n))
	}
	if len(r.Left) > 0 {
		wrong = append(wrong, "not cancelled: "+strings.Join(r.Left, "; "))
	}
	if ctx.Err() != nil {
		wrong = append(wrong, "interrupted")
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// unreached explains why nothing could be examined, as discover does.
func (c examiner) unreached(ctx context.Context) error {
	cl, _, err := c.begin(ctx)
	if err != nil {
		return err
	}
	cl.Close()
	return errors.New("nothing could be examined: the destination did not answer at first")
}

// examination reads what the flags name. All that is wrong is reported at once.
func (c examiner) examination() (s examine.Setting, err error) {
	var errs []error
	s.Client, err = c.config()
	errs = append(errs, err)

	s.Profile = conform.Profile(c.check.profile)
	if !slices.Contains(conform.Profiles(), s.Profile) {
		errs = append(errs, complaint.New(
			fmt.Sprintf("-profile has no %q", c.check.profile), "one of ssraa-1, ssraa-2, tefca"))
	}
	for _, name := range c.check.reports {
		if !report.Known(name) {
			errs = append(errs, complaint.New(
				fmt.Sprintf("-report %s: what form?", name), "a file that ends in .html, .json, .xml or .svg"))
		}
	}

	s.Issuer, err = c.check.issuer.load("-issuer")
	errs = append(errs, err)
	s.OtherIssuer, err = c.check.other.load("-other-issuer")
	errs = append(errs, err)
	s.CRL, s.OtherCRL = c.check.issuer.crl, c.check.other.crl

	if c.check.revoked.cert != "" {
		s.Revoked, err = certs.LoadIdentity(c.check.revoked.cert, c.check.revoked.key)
		if err != nil {
			err = complaint.New(err.Error(), "-revoked-cert and -revoked-key: a revoked certificate and its key")
		}
		errs = append(errs, err)
	}

	reg, err := c.parameters()
	errs = append(errs, err)
	s.Scope, s.Organization, s.Certifications = c.scope, c.Organization, reg.Certifications
	if len(c.purposes) > 0 {
		s.Purpose = c.purposes[0]
	}

	errs = append(errs, c.somebody(&s), c.harmless(s))
	s.Found = c.showFinding
	return s, errors.Join(errs...)
}

func (f issuerFlags) load(flag string) (*certs.CA, error) {
	if f.cert == "" && f.key == "" {
		return nil, nil
	}
	ca, err := certs.LoadCA(f.cert, f.key)
	if err != nil {
		return nil, complaint.New(err.Error(),
			fmt.Sprintf("%s-cert and %s-key: PEM, the signing CA first; its key in a file of its own", flag, flag))
	}
	return ca, nil
}

// somebody adds a person who can sign in, if the flags name one.
func (c examiner) somebody(s *examine.Setting) error {
	password := c.check.password
	switch {
	case c.check.user == "":
		return nil
	case c.check.userPassword != "":
		data, err := os.ReadFile(c.check.userPassword)
		if err != nil {
			return complaint.New(err.Error(), "-user-password-file names the file that holds the person's password")
		}
		first, _, _ := strings.Cut(string(data), "\n")
		password = strings.TrimSuffix(first, "\r")
	case password == "":
		return complaint.New("-user is given without a password", "its file: -user-password-file")
	}

	cfg := s.Client
	s.Login = func(ctx context.Context, target, stop string) (string, error) {
		cl, err := client.New(cfg)
		if err != nil {
			return "", err
		}
		defer cl.Close()

		b, err := forms.New(cl, stop)
		if err != nil {
			return "", err
		}
		p := &forms.Person{
			Username: c.check.user,
			Password: password,
		}
		return p.Visit(ctx, b, target)
	}
	return nil
}

// harmless refuses an examination that would cancel a registration in use: without an
// issuer everything is registered under the URI of the certificate.
func (c examiner) harmless(s examine.Setting) error {
	if s.Issuer != nil || c.session.ClientID == "" {
		return nil
	}
	return complaint.New(
		fmt.Sprintf("the registration %s of %s would be changed and cancelled", c.session.ClientID, c.options.session),
		"cancel it first (originator cancel), name another session file (-session), or give the issuer's key, so that "+
			"the examination goes by a URI of its own",
	)
}

// reported makes the report, with the difference to an earlier one.
func (c examiner) reported(r *examine.Report) (*report.Report, error) {
	about := report.About{
		Kind:     report.Destination,
		Subject:  r.Base,
		Base:     r.Base,
		Profile:  string(r.Profile),
		Started:  r.Began,
		Ended:    r.Began.Add(r.Took),
		Requests: r.Requests,
	}
	found := report.Found{
		Rows:  r.Outcomes(),
		Notes: r.Left,
	}
	made, err := report.New(about, found, nil, c.now())
	if err != nil {
		return nil, err
	}
	return compared(made, c.check.earlier)
}

// verdictMarks are how a finding is shown.
var verdictMarks = map[conform.Verdict]string{
	conform.Shown:        "ok",
	conform.Warned:       "WARN",
	conform.Violated:     "FAIL",
	conform.NotExercised: "--",
}

// showFinding prints what a check found, as soon as it is known.
func (c examiner) showFinding(f examine.Finding) {
	loud := f.Verdict == conform.Violated || f.Verdict == conform.Warned
	if c.out.quiet && !loud {
		return
	}

	text := f.Title
	if f.Verdict == conform.NotExercised {
		text = f.Reason
	}
	c.out.say("%-4s  %-34s  %s", verdictMarks[f.Verdict], f.Check, text)
	if !loud {
		return
	}

	for _, l := range []struct{ name, text string }{
		{"sent", f.Sent},
		{"expected", f.Expected},
		{"found", f.Found},
		{"remedy", f.Remedy},
		{"rule", f.Rule + " (" + strings.Join(f.Rows, ", ") + ")"},
	} {
		if l.text != "" {
			c.out.say("      %-8s  %s", l.name, l.text)
		}
	}
}

// showExamined prints how many requirements are shown.
func (c examiner) showExamined(r *report.Report) error {
	if c.out.json {
		text, err := r.JSON()
		if err == nil {
			_, err = c.out.out.Write(text)
		}
		c.out.json = false // the report is all that there is on standard output
		return err
	}
	showSummary(c.out, r)
	return nil
}
