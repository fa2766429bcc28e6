package main

import (
	"context"
	"errors"
	"os"
	"time"
)

// config is what a test bed is made of.
type config struct {
	host             string // in URLs and certificates
	patients         int
	separate         bool // each actor is a program of its own
	tamper           bool // one byte of one relayed message is flipped
	trust            []foreign
	identities       []string // PKCS#12 files, one for each of trust, in order
	identityPassword string   // the file whose first line opens them
}

// foreign is a trust community from outside.
type foreign struct{ uri, anchor string }

// roles are the listeners, in the order in which actors start.
var roles = []string{"crl", "private", "admin", "delegate", "public"}

// stage is a test bed whose actors are known but not yet started.
type bed struct {
	env *env
	supervisor  *supervisor

	gateways      []string // the gateway program, to be read
	gatewayReason string   // why there is none, or how it relates to this run
	bin           string   // directory of programs that were built
}

// newStage writes the configurations and chooses how the actors run: inside this program
// or each as a program of its own.
func newBed(
	ctx context.Context, c config, w *env, say func(string, ...any), now func() time.Time,
) (*bed, error) {
	st := &bed{env: w}
	var actors []actor
	if c.tamper {
		t, err := newTamperer(w)
		if err != nil {
			return nil, err
		}
		w.ports["tamper"] = &port{address: t.ln.Addr().String()}
		actors = append(actors, t.actor())
	}

	if err := w.writeConfigs(c.patients); err != nil {
		return nil, err
	}
	var err error
	if st.bin, err = os.MkdirTemp("", "sandbox-programs-"); err != nil {
		return nil, err
	}
	if !c.separate {
		st.supervisor = newSupervisor(w.ports, append(actors, w.inside(now)...))
		return st, nil
	}

	say("looking for the programs, or building them")
	ps, err := findPrograms(ctx, st.bin, programNames...)
	if err != nil {
		return nil, errors.Join(unbuilt(err), os.RemoveAll(st.bin))
	}
	st.gateways = []string{ps["gateway"]}
	st.supervisor = newSupervisor(w.ports, append(actors, w.outside(ps)...))
	return st, nil
}

// close stops the actors and removes what was built.
func (st *bed) close() error { return errors.Join(st.supervisor.stopAll(), os.RemoveAll(st.bin)) }

// findGateway finds the gateway program, or builds it, for what it links to be read: in a
// run of one program its gateways are the same code, linked with everything else.
func (st *bed) findGateway(ctx context.Context) {
	if len(st.gateways) > 0 {
		return
	}
	ps, err := findPrograms(ctx, st.bin, "gateway")
	if err != nil {
		st.gatewayReason = "no gateway program is beside this one, and none can be built here: " + err.Error()
		return
	}
	st.gateways = []string{ps["gateway"]}
	st.gatewayReason = "read from the gateway program, whose code the gateways of this run share; -separate runs it"
}

// replaceGateway puts another key into the gateway's place and starts it again.
func (st *bed) replaceGateway(ctx context.Context) (string, error) {
	if err := st.supervisor.stop("gateway"); err != nil {
		return "", err
	}
	if err := st.env.makeTLSFor("gateway"); err != nil {
		return "", err
	}
	return "", st.supervisor.start(ctx, "gateway")
}
