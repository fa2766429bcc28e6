package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/gateway/complaint"
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

// programNames are the programs of the actors.
var programNames = []string{"community", "destination", "gateway"}

// stage is a test bed whose actors are known but not yet started.
type bed struct {
	env        *env
	supervisor *supervise.Supervisor

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
	var actors []supervise.Actor
	if c.tamper {
		t, err := newTamperer(w)
		if err != nil {
			return nil, err
		}
		w.ports["tamper"] = &supervise.Port{Address: t.ln.Addr().String()}
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
		st.supervisor = supervise.New(w.ports, append(actors, w.inside(now)...))
		return st, nil
	}

	say("looking for the programs, or building them")
	ps, err := supervise.Find(ctx, st.bin, programNames...)
	if err != nil {
		return nil, errors.Join(unbuilt(err), os.RemoveAll(st.bin))
	}
	st.gateways = []string{ps["gateway"]}
	st.supervisor = supervise.New(w.ports, append(actors, w.outside(ps)...))
	return st, nil
}

// close stops the actors and removes what was built.
func (st *bed) close() error { return errors.Join(st.supervisor.StopAll(), os.RemoveAll(st.bin)) }

// findGateway finds the gateway program, or builds it, for what it links to be read: in a
// run of one program its gateways are the same code, linked with everything else.
func (st *bed) findGateway(ctx context.Context) {
	if len(st.gateways) > 0 {
		return
	}
	ps, err := supervise.Find(ctx, st.bin, "gateway")
	if err != nil {
		st.gatewayReason = "no gateway program is beside this one, and none can be built here: " + err.Error()
		return
	}
	st.gateways = []string{ps["gateway"]}
	st.gatewayReason = "read from the gateway program, whose code the gateways of this run share; -separate runs it"
}

// replaceGateway puts another key into the gateway's place and starts it again.
func (st *bed) replaceGateway(ctx context.Context) (string, error) {
	if err := st.supervisor.Stop("gateway"); err != nil {
		return "", err
	}
	if err := st.env.makeTLSFor("gateway"); err != nil {
		return "", err
	}
	return "", st.supervisor.Start(ctx, "gateway")
}

// unbuilt is what -separate without programs comes to.
func unbuilt(err error) error {
	return complaint.New(
		fmt.Sprintf("-separate: the programs are not beside this one and cannot be built here: %v", err),
		"run it inside the module, or put destination, gateway and community beside this program: go build -o bin/ ./cmd/...",
	)
}
