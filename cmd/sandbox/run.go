package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/certs/disk"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/gateway/complaint"
)

// sandbox does what the flags say.
func sandbox(ctx context.Context, o *options, s streams, now func() time.Time) error {
	say := progress(s.err)
	if o.use != "" {
		return use(ctx, o, s.out, say, now)
	}

	dir, leave, err := directory(o.dir)
	if err != nil {
		return unusable(err)
	}

	err = start(ctx, o, dir, s.out, say, now)
	return errors.Join(err, leave(err, say))
}

// progress prints what is being done.
func progress(w io.Writer) func(format string, args ...any) {
	var turn sync.Mutex
	return func(format string, args ...any) {
		turn.Lock()
		defer turn.Unlock()
		fmt.Fprintf(w, "... "+format+"\n", args...)
	}
}

// directory is where everything goes. A given one is kept; a temporary one is
// removed, unless there is something to look at in it.
func directory(
	given string,
) (dir string, leave func(error, func(string, ...any)) error, err error) {
	if given == "" {
		dir, err = os.MkdirTemp("", "sandbox-")
		return dir, func(err error, say func(string, ...any)) error {
			if errors.Is(err, errClaims) {
				say("kept to look at: %s", dir)
				return nil
			}
			return os.RemoveAll(dir)
		}, err
	}

	dir, err = filepath.Abs(given)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	unlock := func() error { return nil }
	if err == nil {
		unlock, err = lock(dir)
	}

	return dir, func(error, func(string, ...any)) error {
		return unlock()
	}, err
}

// unusable is what a directory's fault comes to that has no remedy of its own:
// it cannot be written, has no room, or holds damaged files.
func unusable(err error) error {
	if errors.As(err, new(interface{ Hint() string })) {
		return err
	}
	return complaint.New("-dir: "+strings.ReplaceAll(err.Error(), "\n", "; "),
		"give a directory that can be written and has room; what is damaged in it can be removed, all of it at "+
			"once, and is made anew")
}

// start makes the environment, starts the actors, demonstrates, and stays.
func start(
	ctx context.Context, o *options, dir string, out io.Writer, say func(string, ...any), now func() time.Time,
) error {
	ps, err := supervise.Open(o.address, earlierAddresses(dir))
	if err != nil {
		return err
	}
	defer ps.Close()

	if err := testbed.RemoveManifest(dir); err != nil {
		return err
	}

	say("making trust communities, certificates and configurations in %s", dir)
	w := &testbed.Env{
		Dir:   dir,
		Host:  o.Host,
		Ports: ps,
		Now:   now(),
	}
	if err := w.Make(o.Config); err != nil {
		return unusable(err)
	}

	st, err := testbed.New(ctx, o.Config, w, say, now)
	if err != nil {
		return err
	}

	if !o.noDemo {
		st.FindGateway(ctx)
	}

	err = perform(ctx, st, o, out, say, now)
	return errors.Join(err, st.Close())
}

// earlierAddresses are the addresses that this directory had before: its
// certificates name the lists' one.
func earlierAddresses(dir string) map[string]string {
	m, err := testbed.ReadManifest(dir)
	if err != nil {
		return nil
	}

	before := map[string]string{}
	for role, address := range m.Addresses {
		before[role] = address
	}

	if u := testbed.HostOf(m.Admin); u != "" {
		before["admin"] = u
	}

	return before
}

// perform starts the actors, demonstrates, and stays.
func perform(
	ctx context.Context, st *testbed.Bed, o *options, out io.Writer, say func(string, ...any), now func() time.Time,
) error {
	for _, p := range st.Supervisor.Actors {
		say("starting %s at %s", p.Name, st.Supervisor.Ports[p.Role].Address)
		if err := st.Supervisor.Start(ctx, p.Name); err != nil {
			return err
		}
	}

	m := st.Env.Manifest()
	d, err := newDemo(st.Env.Dir, m, now)
	if err != nil {
		return err
	}
	if o.noDemo {
		if err := errors.Join(d.close(), m.Write(st.Env.Dir)); err != nil || o.once {
			return err
		}
		return stay(ctx, st, m, say)
	}

	d.replaceGateway = st.ReplaceGateway
	d.gatewayPrograms = st.Gateways
	d.gatewayReason = st.GatewayReason
	say("demonstrating at %s", m.PublicBase)
	err = d.demonstrate(ctx, out, o.report, say)
	if werr := m.Write(st.Env.Dir); werr != nil {
		return errors.Join(err, werr)
	}
	if err != nil || o.once {
		return err
	}

	return stay(ctx, st, m, say)
}

// stay keeps the actors up for others until interrupted, or until one ends without which
// the others are of no use.
func stay(
	ctx context.Context, st *testbed.Bed, m *testbed.Manifest, say func(string, ...any),
) error {
	say("ready: %s", m.PublicBase)
	say("administration: %s", m.Admin)
	say("identity provider: %s", m.IDP)
	say("sheet for originators: %s/sheet", m.Admin)
	say("everything else: %s", filepath.Join(st.Env.Dir, testbed.ManifestName))
	say("try: originator discover -sandbox %s", st.Env.Dir)
	say("stop with an interrupt (Ctrl-C)")

	for {
		select {
		case <-ctx.Done():
			return nil

		case err := <-st.Supervisor.Ended:
			other := otherOf(m, err.Name)
			if other == "" || !supervise.Accepts(ctx, other) {
				return err
			}
			_ = st.Supervisor.Stop(err.Name) // it has ended, as err says
			say("%v; the other destination goes on; start it again with: destination -config %s", err,
				filepath.Join(st.Env.Dir, m.Configs[err.Name]))
		}
	}
}

// otherOf returns the address of the other one of two destinations, "" for any other actor.
func otherOf(m *testbed.Manifest, name string) string {
	switch name {
	case "destination":
		return m.Addresses["private2"]
	case "destination2":
		return m.Addresses["private"]
	}
	return ""
}

// demonstrate shows every claim and writes the report.
func (d *demo) demonstrate(
	ctx context.Context, out io.Writer, file string, say func(string, ...any),
) error {
	results := d.showAll(ctx, claims, out)
	fmt.Fprintln(out, tally(results))
	if err := d.close(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted before the demonstration was over")
	}

	if file != "" {
		if err := d.writeReport(file, results); err != nil {
			return err
		}
		say("report: %s", file)
	}

	return verdict(results)
}

// use demonstrates against actors that run already.
func use(
	ctx context.Context, o *options, out io.Writer, say func(string, ...any), now func() time.Time,
) error {
	dir, err := filepath.Abs(o.use)
	if err != nil {
		return err
	}

	m, err := testbed.ReadManifest(dir)
	if err != nil {
		return err
	}
	if err := reachable(ctx, m); err != nil {
		return err
	}

	d, err := newDemo(dir, m, now)
	if err != nil {
		return err
	}

	s := &testbed.Stub{
		Dir:      dir,
		Manifest: m,
		Now:      now,
	}
	d.replaceGateway = func(ctx context.Context) (string, error) {
		dial, err := s.Start(ctx)
		if errors.Is(err, testbed.ErrNoCA) {
			err = hidden{err.Error()}
		}
		return dial, err
	}

	d.gatewayPrograms, d.gatewayReason = programsAt(
		m.Addresses["public"],
		m.Addresses["delegate"],
	)
	say("demonstrating at %s", m.PublicBase)
	return errors.Join(d.demonstrate(ctx, out, o.report, say), s.Stop())
}

// reachable complains about every listener of the manifest that does not
// answer.
func reachable(ctx context.Context, m *testbed.Manifest) error {
	var cs complaint.List
	for _, role := range []string{"crl", "idp", "private", "delegate", "public"} {
		if !supervise.Accepts(ctx, m.Addresses[role]) {
			cs.Add("start the actors from the configurations that the manifest names, or: sandbox -dir DIR",
				"-use: nothing listens at %s (%s)", m.Addresses[role], role)
		}
	}
	return cs.Err()
}

// lock keeps a second sandbox out of a directory.
func lock(dir string) (func() error, error) {
	f, err := os.OpenFile(
		filepath.Join(dir, ".lock"),
		os.O_RDWR|os.O_CREATE,
		certs.ModeSecret,
	)
	if err != nil {
		return nil, err
	}
	if err := disk.TryLock(f); err != nil {
		_ = f.Close()
		return nil, complaint.New(fmt.Sprintf("-dir: another sandbox runs in %s", dir),
			"stop it, or give another directory")
	}

	return f.Close, nil
}
