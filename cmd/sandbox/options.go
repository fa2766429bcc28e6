package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"fhirdest.example/certs"
)

// options are the flags, checked.
type options struct {
	dir, use, report       string
	once, separate, tamper bool
	host                   string
	patients               int
	address                map[string]string // by role, as in the manifest
	trust                  []foreign
	identities             []string
	identityPassword       string // file
}

// foreign is a trust community from outside.
type foreign struct{ uri, anchor string }

// roles are the listeners, in the order in which actors start.
var roles = []string{"crl", "private", "admin", "delegate", "public"}

var defaults = map[string]string{
	"public": "127.0.0.1:8443", "delegate": "127.0.0.1:8444", "private": "127.0.0.1:9443",
	"admin": "127.0.0.1:9480", "crl": "127.0.0.1:9481",
}

func parseOptions(args []string) (*options, error) {
	o := &options{address: map[string]string{}}
	fs := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.dir, "dir", "", "")
	fs.StringVar(&o.use, "use", "", "")
	fs.StringVar(&o.report, "report", "", "")
	fs.BoolVar(&o.once, "once", false, "")
	fs.BoolVar(&o.separate, "separate", false, "")

	fs.BoolVar(&o.tamper, "tamper", false, "")
	fs.StringVar(&o.host, "host", "localhost", "")
	fs.IntVar(&o.patients, "patients", 25, "")
	fs.StringVar(&o.identityPassword, "identity-password-file", "", "")

	for _, role := range roles {
		o.address[role] = defaults[role]
		fs.Func(role, "", func(s string) error { o.address[role] = s; return nil })
	}

	fs.Func("trust", "", func(s string) error {
		uri, anchor, _ := strings.Cut(s, "=")
		o.trust = append(o.trust, foreign{uri, anchor})
		return nil
	})

	fs.Func("identity", "", func(s string) error { o.identities = append(o.identities, s); return nil })
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, refused{complaint{err.Error(), "sandbox -h lists the flags"}}
	}

	return o, o.check(fs)
}

// check finds everything that is wrong with the flags.
func (o *options) check(fs *flag.FlagSet) error {
	var cs complaints
	if fs.NArg() > 0 {
		cs.add("every argument is a flag; sandbox -h lists them", "unexpected argument %q", fs.Arg(0))
	}
	if o.use != "" {
		o.checkUse(fs, &cs)
	} else {
		o.checkStart(&cs)
	}

	if o.report != "" {
		if st, err := os.Stat(filepath.Dir(o.report)); err != nil || !st.IsDir() {
			cs.add("make the directory first", "-report: %s is not a directory", filepath.Dir(o.report))
		}
	}

	return cs.err()
}

// checkUse refuses what has no meaning for actors that already run.
func (o *options) checkUse(fs *flag.FlagSet, cs *complaints) {
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "use", "once", "report", "separate":
		default:
			cs.add("leave it out: the actors already run, as their configuration says",
				"-%s cannot be combined with -use", f.Name)
		}
	})

	if _, err := os.Stat(filepath.Join(o.use, manifestName)); err != nil {
		cs.add("start a sandbox there with: sandbox -dir "+o.use, "-use: there is no %s in %s", manifestName, o.use)
	}
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (o *options) checkStart(cs *complaints) {
	for _, role := range roles {
		o.checkAddress(role, cs)
	}
	if !hostName.MatchString(o.host) {
		cs.add("give a DNS name or an IPv4 address in lower case, without port", "-host: %q is not a host name", o.host)
	}
	if o.patients < 1 {
		cs.add("give 1 or more: the demonstration reads one", "-patients: %d", o.patients)
	}

	if st, err := os.Stat(o.dir); o.dir != "" && err == nil && !st.IsDir() {
		cs.add("give a directory; it is made when absent", "-dir: %s is not a directory", o.dir)
	}
	o.checkTrust(cs)
}

func (o *options) checkAddress(role string, cs *complaints) {
	host, port, err := net.SplitHostPort(o.address[role])
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		cs.add("write HOST:PORT such as "+defaults[role], "-%s: %q is not an address", role, o.address[role])
		return
	}

	if role == "admin" && !loopback(host) {
		cs.add("give a loopback address such as "+defaults[role]+": it is open and speaks plain HTTP",
			"-admin: %s can be reached from other machines", o.address[role])
	}
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func (o *options) checkTrust(cs *complaints) {
	seen := map[string]bool{uriA: true, uriB: true, uriTEFCA: true}
	for _, t := range o.trust {
		if t.uri == "" || t.anchor == "" {
			cs.add("write -trust URI=ANCHOR.pem", "-trust: %q is not URI=FILE", t.uri+"="+t.anchor)
			continue
		}

		if seen[t.uri] {
			cs.add("each community has one URI", "-trust: %s is there already", t.uri)
		}
		seen[t.uri] = true
		list, err := certs.LoadCertificates(t.anchor)
		if err != nil {
			cs.add("name the PEM or DER file of its root", "-trust: %v", err)
		} else if !list[0].IsCA {
			cs.add("name the root's certificate", "-trust: %s (%s) is not a CA", t.anchor, certs.Describe(list[0]))
		}
	}

	if len(o.identities) > len(o.trust) {
		cs.add("give one -trust for each -identity, in the same order", "-identity: %d given, but -trust %d",
			len(o.identities), len(o.trust))
	}

	for _, file := range o.identities {
		if _, err := os.Stat(file); err != nil {
			cs.add("name a PKCS#12 file", "-identity: %v", err)
		}
	}
}

// complaints gathers faults so that all are printed at once.
type complaints []error

func (cs *complaints) add(remedy, format string, args ...any) {
	*cs = append(*cs, complaint{fmt.Sprintf(format, args...), remedy})
}

func (cs complaints) err() error {
	if len(cs) == 0 {
		return nil
	}
	return refused{errors.Join(cs...)}
}
