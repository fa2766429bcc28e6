package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server"
	"fhirdest.example/server/people/users"
)

const userUsage = `usage: destination user add    -config FILE [options] USERNAME
       destination user list   -config FILE
       destination user remove -config FILE USERNAME

Changes the file that the configuration names under users: (add makes it). A
destination that runs reads it again by itself. A person who is removed is signed
out, and what they granted has no effect any more.

  -password FILE   its first line is the password, at least 8 characters; "-" is
                   standard input. Without it the person can sign in at an
                   identity provider only. The file has the argon2id hash.
  -name NAME       shown to the person; default: the username
  -fhir-user REF   the resource that describes the person: Patient/ID,
                   RelatedPerson/ID, Practitioner/ID, PractitionerRole/ID or
                   Person/ID. A practitioner may choose any patient.
  -patient ID      a patient whose data the person may share, beside the one of
                   -fhir-user; may be repeated
  -subject ID      the identifier that clients learn; default: a random one

Examples:
  destination user add -config destination.yaml -password - -fhir-user Patient/17 ana
  destination user add -config destination.yaml -password secret.txt -fhir-user Practitioner/3 dr.bell
  destination user list -config destination.yaml
Exit codes: 0 done; 2 it cannot be done, and why.
`

// userOptions are the options of "destination user".
type userOptions struct {
	config   string
	password string
	user     users.User
}

// runUser runs "destination user".
func runUser(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	command, args := first(args)
	o, err := parseUser(command, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, userUsage)
		return 0
	}

	var cfg server.Config
	if err == nil {
		cfg, err = read(o.config)
	}
	if err == nil && cfg.UsersFile() == "" {
		err = complaint.New(
			o.config+" names no file of users",
			"add a line such as users: users.json",
		)
	}

	if err == nil {
		err = changeUsers(
			command,
			cfg.UsersFile(),
			o,
			stdin,
			stdout,
		)
	}
	if err != nil {
		complaint.Print(stderr, err)
		return 2
	}
	return 0
}

func first(args []string) (string, []string) {
	if len(args) == 0 {
		return "", nil
	}
	return args[0], args[1:]
}

func parseUser(command string, args []string) (o userOptions, err error) {
	f := flag.NewFlagSet("destination user "+command, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&o.config, "config", "", "")
	if command == "add" {
		f.StringVar(&o.password, "password", "", "")
		f.StringVar(&o.user.Name, "name", "", "")
		f.StringVar(&o.user.FHIRUser, "fhir-user", "", "")
		f.StringVar(&o.user.Subject, "subject", "", "")
		f.Func("patient", "", func(id string) error {
			o.user.Patients = append(o.user.Patients, id)
			return nil
		})
	}

	wanted, known := map[string]int{
		"add":    1,
		"list":   0,
		"remove": 1,
	}[command]
	err = f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp), strings.TrimLeft(command, "-") == "h", command == "--help":
		return o, flag.ErrHelp
	case !known:
		err = fmt.Errorf("there is no command user %q", command)
	case err != nil:
	case o.config == "":
		err = errors.New("no configuration is named: -config FILE is missing")
	case f.NArg() != wanted:
		err = fmt.Errorf(
			"user %s has %d arguments, not %d",
			command,
			wanted,
			f.NArg(),
		)
	}

	if err != nil {
		return o, complaint.New(err.Error(), "destination user -h shows the options")
	}
	o.user.Username = f.Arg(0)
	return o, nil
}

func changeUsers(
	command, path string, o userOptions, stdin io.Reader, stdout io.Writer,
) error {
	var err error
	switch command {
	case "list":
		err = listUsers(path, stdout)
	case "remove":
		err = users.Remove(path, o.user.Username)
	default:
		err = addUser(path, o, stdin)
	}

	if err != nil {
		return complaint.New(err.Error(), "destination user -h shows what is possible")
	}
	return nil
}

func addUser(path string, o userOptions, stdin io.Reader) error {
	if o.password != "" {
		password, err := readPassword(o.password, stdin)
		if err != nil {
			return err
		}
		if o.user.Password, err = users.Hash(password); err != nil {
			return err
		}
	}
	return users.Add(path, o.user)
}

// readPassword returns the first line of a file; "-" is standard input.
func readPassword(path string, stdin io.Reader) (string, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		stdin = f
	}

	line, err := bufio.NewReader(io.LimitReader(stdin, 2*users.MaxPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func listUsers(path string, stdout io.Writer) error {
	d, err := users.Read(path)
	if err != nil {
		return err
	}

	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "USERNAME\tNAME\tFHIR USER\tPATIENTS\tPASSWORD\tSUBJECT")
	for _, u := range d.All() {
		password := "none"
		if u.Password != "" {
			password = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", u.Username, u.DisplayName(), u.FHIRUser,
			strings.Join(u.Patients, ","), password, u.Subject)
	}
	return w.Flush()
}
