package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/certs/netname"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/gateway/complaint"
)

// options are the flags, checked.
type options struct {
	testbed.Config
	dir, use, report string
	once, noDemo     bool
	address          map[string]string // by role, as in the manifest
}

var defaults = map[string]string{
	"public": "127.0.0.1:8443", "delegate": "127.0.0.1:8444", "private": "127.0.0.1:9443",
	"admin": "127.0.0.1:9480", "crl": "127.0.0.1:9481", "idp": "127.0.0.1:9445",
	"private2": "127.0.0.1:9444", "admin2": "127.0.0.1:9482",
}

func parseOptions(args []string) (*options, error) {
	o := &options{address: map[string]string{}}
	fs := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.dir, "dir", "", "")
	fs.StringVar(&o.use, "use", "", "")
	fs.StringVar(&o.report, "report", "", "")
	fs.BoolVar(&o.once, "once", false, "")
	fs.BoolVar(&o.Separate, "separate", false, "")

	fs.StringVar(&o.Store, "store", "bolt", "")
	fs.BoolVar(&o.Tamper, "tamper", false, "")
	fs.BoolVar(&o.noDemo, "no-demo", false, "")
	fs.StringVar(&o.Host, "host", "localhost", "")
	fs.IntVar(&o.Patients, "patients", 25, "")
	fs.StringVar(&o.IdentityPassword, "identity-password-file", "", "")

	for _, role := range testbed.Roles {
		o.address[role] = defaults[role]
		fs.Func(role, "", func(s string) error {
			o.address[role] = s
			return nil
		})
	}

	for _, role := range testbed.SecondRoles {
		fs.Func(role, "", func(s string) error {
			o.address[role] = s
			return nil
		})
	}

	fs.Func("trust", "", func(s string) error {
		uri, anchor, _ := strings.Cut(s, "=")
		o.Trust = append(o.Trust, testbed.Foreign{
			URI:    uri,
			Anchor: anchor,
		})

		return nil
	})

	fs.Func("identity", "", func(s string) error {
		o.Identities = append(o.Identities, s)
		return nil
	})
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, complaint.New(err.Error(), "sandbox -h lists the flags")
	}

	return o, o.check(fs)
}

// check finds everything that is wrong with the flags.
func (o *options) check(fs *flag.FlagSet) error {
	var cs complaint.List
	if fs.NArg() > 0 {
		cs.Add(
			"every argument is a flag; sandbox -h lists them",
			"unexpected argument %q",
			fs.Arg(0),
		)
	}
	if o.use != "" {
		o.checkUse(fs, &cs)
	} else {
		o.checkStart(&cs)
	}

	if o.noDemo && o.report != "" {
		cs.Add(
			"leave one of the two out",
			"-report: without the demonstration there is nothing to report",
		)
	} else if o.report != "" {
		if st, err := os.Stat(filepath.Dir(o.report)); err != nil || !st.IsDir() {
			cs.Add(
				"make the directory first",
				"-report: %s is not a directory",
				filepath.Dir(o.report),
			)
		}
	}

	return cs.Err()
}

// checkUse refuses what has no meaning for actors that already run.
func (o *options) checkUse(fs *flag.FlagSet, cs *complaint.List) {
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "use", "once", "report", "separate":
		default:
			cs.Add("leave it out: the actors already run, as their configuration says",
				"-%s cannot be combined with -use", f.Name)
		}
	})

	if _, err := os.Stat(filepath.Join(o.use, testbed.ManifestName)); err != nil {
		cs.Add("start a sandbox there with: sandbox -dir "+o.use, "-use: there is no %s in %s",
			testbed.ManifestName, o.use)
	}
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (o *options) checkStart(cs *complaint.List) {
	o.checkStore(cs)
	for _, role := range slices.Concat(testbed.Roles, testbed.SecondRoles) {
		if o.address[role] != "" {
			o.checkAddress(role, cs)
		}
	}

	o.checkHost(cs)
	if o.Patients < 1 {
		cs.Add("give 1 or more: the demonstration reads one", "-patients: %d", o.Patients)
	}

	if st, err := os.Stat(o.dir); o.dir != "" && err == nil && !st.IsDir() {
		cs.Add(
			"give a directory; it is made when absent",
			"-dir: %s is not a directory",
			o.dir,
		)
	}
	o.checkTrust(cs)
}

// checkStore checks the kind of store, and gives a second destination the addresses
// that are not given: ports that are free, beside the first one's.
func (o *options) checkStore(cs *complaint.List) {
	switch o.Store {
	case "bolt":
		for _, role := range testbed.SecondRoles {
			if o.address[role] != "" {
				cs.Add("add -store postgres, or leave it out", "-%s: there is no second destination", role)
			}
		}

	case "postgres":
		for _, role := range testbed.SecondRoles {
			if o.address[role] == "" {
				host, _, _ := net.SplitHostPort(o.address[strings.TrimSuffix(role, "2")]) // checked beside it
				o.address[role] = net.JoinHostPort(host, "0")
			}
		}

	default:
		cs.Add("write bolt or postgres", "-store: %q is not known", o.Store)
	}
}

// lookUpTime bounds the look-up of a name.
const lookUpTime = 10 * time.Second

// checkHost refuses a name that does not resolve: CRLs are fetched by it, and nobody would
// be believed.
func (o *options) checkHost(cs *complaint.List) {
	if !hostName.MatchString(o.Host) {
		cs.Add("give a DNS name or an IPv4 address in lower case, without port",
			"-host: %q is not a host name", o.Host)
		return
	}
	if net.ParseIP(o.Host) != nil {
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, o.Host); err != nil {
		cs.Add("enter it in DNS or in the hosts file of this machine, or give its IPv4 address",
			"-host: %s does not resolve on this machine, and CRLs are fetched by that name: %v", o.Host, err)
	}
}

func (o *options) checkAddress(role string, cs *complaint.List) {
	host, port, err := net.SplitHostPort(o.address[role])
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		cs.Add("write HOST:PORT such as "+
			defaults[role], "-%s: %q is not an address", role, o.address[role])
		return
	}

	if strings.HasPrefix(role, "admin") && !netname.Loopback(host) {
		cs.Add("give a loopback address such as "+defaults[role]+": it is open and speaks plain HTTP",
			"-admin: %s can be reached from other machines", o.address[role])
	}
}

func (o *options) checkTrust(cs *complaint.List) {
	seen := map[string]bool{}
	for _, p := range testbed.Communities {
		seen[p.URI] = true
	}

	for _, t := range o.Trust {
		if t.URI == "" || t.Anchor == "" {
			cs.Add(
				"write -trust URI=ANCHOR.pem",
				"-trust: %q is not URI=FILE",
				t.URI+"="+t.Anchor,
			)
			continue
		}

		if seen[t.URI] {
			cs.Add("each community has one URI", "-trust: %s is there already", t.URI)
		}
		seen[t.URI] = true
		list, err := certs.LoadCertificates(t.Anchor)
		if err != nil {
			cs.Add("name the PEM or DER file of its root", "-trust: %v", err)
		} else if !list[0].IsCA {
			cs.Add("name the root's certificate", "-trust: %s (%s) is not a CA", t.Anchor,
				certs.Describe(list[0]))
		}
	}

	if len(o.Identities) > len(o.Trust) {
		cs.Add("give one -trust for each -identity, in the same order", "-identity: %d given, but -trust %d",
			len(o.Identities), len(o.Trust))
	}

	for _, file := range o.Identities {
		if _, err := os.Stat(file); err != nil {
			cs.Add("name a PKCS#12 file", "-identity: %v", err)
		}
	}
}
