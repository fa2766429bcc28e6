package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
)

// programs are the actors' binaries, by name.
type programs map[string]string

var programNames = []string{"community", "destination", "gateway"}

// findPrograms looks beside this program, and otherwise builds into a
// directory, which the caller removes.
func findPrograms(ctx context.Context, into string, names ...string) (programs, error) {
	self, err := os.Executable()
	if err == nil {
		if ps := beside(filepath.Dir(self), names); ps != nil {
			return ps, nil
		}
	}
	return build(ctx, into, names...)
}

func beside(dir string, names []string) programs {
	ps := programs{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o111 == 0 {
			return nil
		}
		ps[name] = path
	}
	return ps
}

func build(ctx context.Context, into string, names ...string) (programs, error) {
	ps, args := programs{}, []string{"build", "-o", into + string(filepath.Separator)}
	for _, name := range names {
		args = append(args, "fhirdest.example/cmd/"+name)
		ps[name] = filepath.Join(into, name)
	}

	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w %s", err, firstWords(out))
	}
	return ps, nil
}

// unbuilt is what -separate without programs comes to.
func unbuilt(err error) error {
	return complaint.New(
		fmt.Sprintf("-separate: the programs are not beside this one and cannot be built here: %v", err),
		"run it inside the module, or put destination, gateway and community beside this program: go build -o bin/ ./cmd/...",
	)
}

// firstWords is the beginning of what a program said.
func firstWords(out []byte) string {
	const most = 300
	return string(out[:min(len(out), most)])
}

// programPart plays an actor as a program of its own. What it says goes to
// NAME.log in the sandbox's directory.
func programActor(name, role, dir, binary string, args ...string) actor {
	return actor{name, role, func(ctx context.Context, p *port) error {
		if err := p.release(); err != nil {
			return err
		}

		log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, certs.ModeSecret)
		if err != nil {
			return err
		}
		defer log.Close()

		return runActor(ctx, binary, args, log)
	}}
}

// with has another listener released, too, before the program starts.
func (p actor) with(other *port) actor {
	runActor := p.runActor
	p.runActor = func(ctx context.Context, own *port) error {
		if err := other.release(); err != nil {
			return err
		}
		return runActor(ctx, own)
	}
	return p
}

// endTime is how long a program may take to end when asked to.
const endTime = 30 * time.Second

// play runs a program until ctx ends. It keeps its thread, because the system
// ends the program with the thread that started it (see endWithUs).
func runActor(ctx context.Context, binary string, args []string, log *os.File) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}

	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, endWithUs()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = endTime
	err = cmd.Run()
	if err == nil || ctx.Err() != nil {
		return nil // it was told to end, and did
	}

	said := fmt.Sprintf("%s: %v; %s", filepath.Base(binary), err, saidSince(log.Name(), start))
	const badConfiguration = 2 // the exit code that every program of ours has for it
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == badConfiguration {
		return complaint.New(said, log.Name()+" has all that it said")
	}

	return errors.New(said)
}

// saidSince is what a program wrote to its log from start on, bounded.
func saidSince(file string, start int64) string {
	data, err := os.ReadFile(file)
	if err != nil || int64(len(data)) <= start {
		return "it said nothing"
	}
	return firstWords(bytes.TrimSpace(data[start:]))
}
