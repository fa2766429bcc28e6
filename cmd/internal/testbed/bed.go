// Package testbed makes, in one directory, an environment in which originators and
// destinations can be tested: trust communities and their members, web servers'
// certificates, configurations; and runs its actors: a destination behind two gateways and
// a server of CRLs.
//
// Open the ports first (supervise.Open), then call Env.Make, New, and start the actors by
// Bed.Supervisor. Bed.Close stops them.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/gateway/complaint"
)

// Config is what a test bed is made of.
type Config struct {
	Host             string // in URLs and certificates
	Patients         int
	Store            string // "bolt", or "postgres" for two destinations on one database
	Separate         bool   // each actor is a program of its own
	Tamper           bool   // one byte of one relayed message is flipped
	Trust            []Foreign
	Identities       []string // PKCS#12 files, one for each of trust, in order
	IdentityPassword string   // the file whose first line opens them
}

// Foreign is a trust community from outside: its URI, and the file of its root.
type Foreign struct{ URI, Anchor string }

// Roles are the listeners, in the order in which actors start.
var Roles = []string{"crl", "idp", "private", "admin", "delegate", "public"}

// SecondRoles are the listeners of a second destination, where there is one.
var SecondRoles = []string{"private2", "admin2"}

// Programs are the programs of the actors.
var Programs = []string{"community", "destination", "gateway"}

// Bed is a test bed whose actors are known but not yet started.
type Bed struct {
	Env        *Env
	Supervisor *supervise.Supervisor

	Gateways      []string  // the gateway program, to be read
	GatewayReason string    // why there is none, or how it relates to this run
	bin           string    // directory of programs that were built
	database      *database // nil: the destination has files
}

// New writes the configurations and chooses how the actors run: inside this program
// or each as a program of its own.
func New(
	ctx context.Context, c Config, w *Env, say func(string, ...any), now func() time.Time,
) (*Bed, error) {
	st := &Bed{Env: w}
	if c.Store == "postgres" {
		say("starting PostgreSQL in %s", w.path(databaseDir))
		var err error
		if st.database, err = startDatabase(ctx, w, say); err != nil {
			return nil, err
		}
	}
	made, err := st.arrange(ctx, c, say, now)
	if err != nil {
		return nil, errors.Join(err, st.stopDatabase())
	}
	return made, nil
}

// arrange writes the configurations and makes the actors.
func (st *Bed) arrange(
	ctx context.Context, c Config, say func(string, ...any), now func() time.Time,
) (*Bed, error) {
	w := st.Env
	var actors []supervise.Actor
	if c.Tamper {
		t, err := newTamperer(w)
		if err != nil {
			return nil, err
		}

		w.Ports["tamper"] = &supervise.Port{Address: t.ln.Addr().String()}
		actors = append(actors, t.actor())
	}

	if err := w.writeConfigs(c.Patients); err != nil {
		return nil, err
	}

	var err error
	if st.bin, err = os.MkdirTemp("", "sandbox-programs-"); err != nil {
		return nil, err
	}
	if !c.Separate {
		st.Supervisor = supervise.New(w.Ports, append(actors, w.inside(now)...))
		return st, nil
	}

	say("looking for the programs, or building them")
	ps, err := supervise.Find(ctx, st.bin, Programs...)
	if err != nil {
		return nil, errors.Join(unbuilt(err), os.RemoveAll(st.bin))
	}

	st.Gateways = []string{ps["gateway"]}
	st.Supervisor = supervise.New(w.Ports, append(actors, w.outside(ps)...))
	return st, nil
}

// Close stops the actors and removes what was built.
func (st *Bed) Close() error {
	return errors.Join(st.Supervisor.StopAll(), st.stopDatabase(), os.RemoveAll(st.bin))
}

// FindGateway finds the gateway program, or builds it, for what it links to be read: in a
// run of one program its gateways are the same code, linked with everything else.
func (st *Bed) FindGateway(ctx context.Context) {
	if len(st.Gateways) > 0 {
		return
	}

	ps, err := supervise.Find(ctx, st.bin, "gateway")
	if err != nil {
		st.GatewayReason = "no gateway program is beside this one, and none can be built here: " + err.Error()
		return
	}

	st.Gateways = []string{ps["gateway"]}
	st.GatewayReason = "read from the gateway program, whose code the gateways of this run share; -separate runs it"
}

// ReplaceGateway puts another key into the gateway's place and starts it again.
func (st *Bed) ReplaceGateway(ctx context.Context) (string, error) {
	if err := st.Supervisor.Stop("gateway"); err != nil {
		return "", err
	}
	if err := st.Env.makeTLSAt("gateway", st.Env.path("tls", "gateway")); err != nil {
		return "", err
	}
	return "", st.Supervisor.Start(ctx, "gateway")
}

// unbuilt is what -separate without programs comes to.
func unbuilt(err error) error {
	return complaint.New(
		fmt.Sprintf("-separate: the programs are not beside this one and cannot be built here: %v", err),
		"run it inside the module, or put destination, gateway and community beside this program: go build -o "+
			"bin/ ./cmd/...",
	)
}
