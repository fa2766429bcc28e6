package testbed

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
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/server"
)

// outside are the actors as programs, each with its configuration alone.
func (w *Env) outside(ps supervise.Programs) []supervise.Actor {
	at := func(name, role, program string, args ...string) supervise.Actor {
		return supervise.Program(name, role, w.Dir, ps[program],
			append(args, "-config", w.path(name+".yaml"))...)
	}
	crls := at("community", "crl", "community", "serve")
	crls.Plain = true

	actors := []supervise.Actor{
		crls,
		at("idp", "idp", "destination"),
		at("destination", "private", "destination").With(w.Ports["admin"]),
	}
	if second(w) {
		actors = append(actors, at("destination2", "private2", "destination").With(w.Ports["admin2"]))
	}
	return append(actors, at("delegate", "delegate", "gateway"), at("gateway", "public", "gateway"))
}

// inside are the actors inside this program, from the same configurations.
func (w *Env) inside(now func() time.Time) []supervise.Actor {
	gateway := func(name, role string) supervise.Actor {
		return supervise.Actor{
			Name: name,
			Role: role,
			Run: func(ctx context.Context, p *supervise.Port) error {
				return w.runGateway(ctx, name, p, now)
			},
		}
	}
	destination := func(name, role, admin string) supervise.Actor {
		return supervise.Actor{
			Name: name,
			Role: role,
			Run: func(ctx context.Context, p *supervise.Port) error {
				return w.runDestination(ctx, name, p, w.Ports[admin], now)
			},
		}
	}
	actors := []supervise.Actor{
		{
			Name:  "community",
			Role:  "crl",
			Plain: true,
			Run: func(ctx context.Context, p *supervise.Port) error {
				return w.runCRLServer(ctx, p, now)
			},
		},
		{
			Name: "idp",
			Role: "idp",
			Run: func(ctx context.Context, p *supervise.Port) error {
				return w.runDestination(ctx, "idp", p, nil, now)
			},
		},
		destination("destination", "private", "admin"),
	}
	if second(w) {
		actors = append(actors, destination("destination2", "private2", "admin2"))
	}
	return append(actors, gateway("delegate", "delegate"), gateway("gateway", "public"))
}

// logFor is the log of an actor inside this program, in the same file as that
// of the program would be.
func (w *Env) logFor(name string) (*slog.Logger, io.Closer, error) {
	f, err := os.OpenFile(
		w.path(name+".log"),
		os.O_WRONLY|os.O_CREATE|os.O_APPEND,
		certs.ModeSecret,
	)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewTextHandler(f, nil)), f, nil
}

func (w *Env) runCRLServer(
	ctx context.Context, p *supervise.Port, now func() time.Time,
) error {
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

	ln, err := p.Listener()
	if err != nil {
		return err
	}

	return (&crlserver.Server{
		Config: c,
		Log:    log,
		Now:    now,
	}).Serve(ctx, ln)
}

// runDestination runs the destination, or the identity provider, which opens its
// administration by itself: admin is nil.
func (w *Env) runDestination(
	ctx context.Context, name string, p, admin *supervise.Port, now func() time.Time,
) error {
	c := server.Config{Dir: w.Dir}
	if err := yamlfile.Read(w.path(name+".yaml"), &c); err != nil {
		return err
	}

	log, f, err := w.logFor(name)
	if err != nil {
		return err
	}
	defer f.Close()

	deps := server.Deps{
		Now: now,
		Log: log,
	}
	if deps.Public, err = p.Listener(); err != nil {
		return err
	}
	if admin != nil {
		if deps.Admin, err = admin.Listener(); err != nil {
			return err
		}
	}

	s, err := server.New(c, deps)
	if err != nil {
		return err
	}

	return s.Run(ctx)
}

func (w *Env) runGateway(
	ctx context.Context, name string, p *supervise.Port, now func() time.Time,
) error {
	log, f, err := w.logFor(name)
	if err != nil {
		return err
	}
	defer f.Close()

	g, err := gatewayd.New(w.path(name+".yaml"), log, now)
	if err != nil {
		return err
	}

	ln, err := p.Listener()
	if err != nil {
		return err
	}
	return g.Serve(ctx, ln)
}
