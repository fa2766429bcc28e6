package supervise

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

// Programs are binaries, by name.
type Programs map[string]string

// Find returns the named programs of this module: those beside this program, if all are
// there, and else built into a directory, which the caller removes.
func Find(ctx context.Context, into string, names ...string) (Programs, error) {
	self, err := os.Executable()
	if err == nil {
		if ps := Beside(filepath.Dir(self), names); ps != nil {
			return ps, nil
		}
	}
	return Build(ctx, into, names...)
}

// Beside returns the named programs in a directory, or nil if one is not there.
func Beside(dir string, names []string) Programs {
	ps := Programs{}
	for _, name := range names {
		path, err := exec.LookPath(filepath.Join(dir, name))
		if err != nil {
			return nil
		}
		ps[name] = path
	}

	return ps
}

// Build builds the named programs into a directory. It needs the Go command, inside the module.
func Build(ctx context.Context, into string, names ...string) (Programs, error) {
	ps, args := Programs{}, []string{"build", "-o", into + string(filepath.Separator)}
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

// firstWords returns the beginning of a program's output.
func firstWords(out []byte) string {
	const most = 300
	return string(out[:min(len(out), most)])
}

// Program returns an actor that is a program of its own. Its output is appended to NAME.log
// in the directory.
func Program(name, role, dir, binary string, args ...string) Actor {
	return Actor{Name: name, Role: role, Run: func(ctx context.Context, p *Port) error {
		if err := p.Release(); err != nil {
			return err
		}

		log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND,
			certs.ModeSecret)
		if err != nil {
			return err
		}
		defer log.Close()

		return runProgram(ctx, binary, args, log)
	}}
}

// With has another listener released, too, before the program starts.
func (p Actor) With(other *Port) Actor {
	run := p.Run
	p.Run = func(ctx context.Context, own *Port) error {
		if err := other.Release(); err != nil {
			return err
		}
		return run(ctx, own)
	}
	return p
}

// endTime is how long a program may take to end when asked to.
const endTime = 30 * time.Second

// runProgram runs a program until ctx ends. It keeps its thread, because the system
// ends the program with the thread that started it (see endWithUs).
func runProgram(ctx context.Context, binary string, args []string, log *os.File) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}

	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, endWithUs()
	cmd.Cancel = func() error {
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = endTime
	err = cmd.Run()
	if err == nil || ctx.Err() != nil {
		return nil // it was asked to end, and did
	}

	text := fmt.Sprintf(
		"%s: %v; %s",
		filepath.Base(binary),
		err,
		outputSince(log.Name(), start),
	)
	const badConfiguration = 2 // the exit code that every program of ours has for it
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == badConfiguration {
		return complaint.New(text, log.Name()+" has all of its output")
	}

	return errors.New(text)
}

// outputSince returns what a program wrote to its log from start on, bounded.
func outputSince(file string, start int64) string {
	data, err := os.ReadFile(file)
	if err != nil || int64(len(data)) <= start {
		return "without output"
	}
	return firstWords(bytes.TrimSpace(data[start:]))
}
