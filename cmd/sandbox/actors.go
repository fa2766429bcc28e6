package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/crlserver"
	"fhirdest.example/cmd/internal/gatewayd"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/server"
)

// newStage writes the configurations and chooses how the actors are played:
// inside this program or each as a program of its own. clean removes what was
// built.
func newStage(
	ctx context.Context, o *options, w *world, say func(string, ...any), now func() time.Time,
) (st *stage, clean func() error, err error) {
	st, clean = &stage{world: w}, func() error { return nil }
	var parts []part
	if o.tamper {
		t, err := newTamperer(w)
		if err != nil {
			return nil, nil, err
		}
		w.ports["tamper"] = &port{address: t.ln.Addr().String()}
		parts = append(parts, t.part())
	}

	if err := w.writeConfigs(o.patients); err != nil {
		return nil, nil, err
	}
	bin, err := os.MkdirTemp("", "sandbox-programs-")
	if err != nil {
		return nil, nil, err
	}
	clean = func() error { return os.RemoveAll(bin) }

	if !o.separate {
		st.cast = newCast(w.ports, append(parts, w.inside(now)...))
		if !o.noDemo {
			st.findGateway(ctx, bin)
		}
		return st, clean, nil
	}

	say("looking for the programs, or building them")
	if st.programs, err = findPrograms(ctx, bin, programNames...); err != nil {
		return nil, nil, errors.Join(unbuilt(err), clean())
	}
	st.gateways = []string{st.programs["gateway"]}
	st.cast = newCast(w.ports, append(parts, w.outside(st.programs)...))
	return st, clean, nil
}

// findGateway finds the gateway program, or builds it, for what it links to be read: in a
// run of one program its gateways are the same code, linked with everything else.
func (st *stage) findGateway(ctx context.Context, bin string) {
	ps, err := findPrograms(ctx, bin, "gateway")
	if err != nil {
		st.gatewayReason = "no gateway program is beside this one, and none can be built here: " + err.Error()
		return
	}
	st.gateways = []string{ps["gateway"]}
	st.gatewayReason = "read from the gateway program, whose code the gateways of this run share; -separate runs it"
}

// outside are the actors as programs, each with its configuration alone.
func (w *world) outside(ps programs) []part {
	at := func(name, role, program string, args ...string) part {
		return programPart(name, role, w.dir, ps[program], append(args, "-config", w.path(name+".yaml"))...)
	}
	return []part{
		at("community", "crl", "community", "serve"),
		at("destination", "private", "destination").with(w.ports["admin"]),
		at("delegate", "delegate", "gateway"),
		at("gateway", "public", "gateway"),
	}
}

// inside are the actors inside this program, from the same configurations.
func (w *world) inside(now func() time.Time) []part {
	return []part{
		{"community", "crl", func(ctx context.Context, p *port) error { return w.playLists(ctx, p, now) }},
		{"destination", "private", func(ctx context.Context, p *port) error {
			return w.playDestination(ctx, p, now)
		}},
		{"delegate", "delegate", func(ctx context.Context, p *port) error {
			return w.playGateway(ctx, "delegate", p, now)
		}},
		{"gateway", "public", func(ctx context.Context, p *port) error {
			return w.playGateway(ctx, "gateway", p, now)
		}},
	}
}

// logFor is the log of an actor inside this program, in the same file as that
// of the program would be.
func (w *world) logFor(name string) (*slog.Logger, io.Closer, error) {
	f, err := os.OpenFile(w.path(name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, certs.ModeSecret)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewTextHandler(f, nil)), f, nil
}

func (w *world) playLists(ctx context.Context, p *port, now func() time.Time) error {
	var c crlserver.Config
	file := w.path("community.yaml")
	if err := errors.Join(yamlfile.Read(file, &c), c.Check(filepath.Dir(file))); err != nil {
		return err
	}

	log, f, err := w.logFor("community")
	if err != nil {
		return err
	}
	defer f.Close()

	ln, err := p.listener()
	if err != nil {
		return err
	}
	return (&crlserver.Server{Config: c, Log: log, Now: now}).Serve(ctx, ln)
}

func (w *world) playDestination(ctx context.Context, p *port, now func() time.Time) error {
	c := server.Config{Dir: w.dir}
	if err := yamlfile.Read(w.path("destination.yaml"), &c); err != nil {
		return err
	}

	log, f, err := w.logFor("destination")
	if err != nil {
		return err
	}
	defer f.Close()

	public, err := p.listener()
	if err != nil {
		return err
	}

	admin, err := w.ports["admin"].listener()
	if err != nil {
		return err
	}

	s, err := server.New(c, server.Deps{Now: now, Log: log, Public: public, Admin: admin})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func (w *world) playGateway(ctx context.Context, name string, p *port, now func() time.Time) error {
	log, f, err := w.logFor(name)
	if err != nil {
		return err
	}
	defer f.Close()

	g, err := gatewayd.New(w.path(name+".yaml"), log, now)
	if err != nil {
		return err
	}

	ln, err := p.listener()
	if err != nil {
		return err
	}
	return g.Serve(ctx, ln)
}
