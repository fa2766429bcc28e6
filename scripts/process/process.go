// Package process starts actors as programs of their own, and ends them; and serves them
// the lists of a community.
package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Process is an actor that runs as a program of its own.
type Process struct {
	command *exec.Cmd
	ended   chan struct{} // closed when it has ended
	log     *os.File
}

// Start starts a program and waits for the first line that it prints, which it does when it
// is ready. What it logs is appended to a file. It ends with this program.
func Start(log string, program string, args ...string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}

	p := &Process{
		command: exec.Command(program, args...),
		ended:   make(chan struct{}),
		log:     f,
	}
	p.command.Stderr = f
	p.command.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // an interrupt of the terminal is this program's to handle
		Pdeathsig: syscall.SIGKILL,
	}

	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}

	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}

	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.Kill()
		text, _ := os.ReadFile(log) // what there is
		return nil, fmt.Errorf("%s did not start: %q\n%s", program, line, text[max(0, len(text)-2000):])
	}

	go io.Copy(io.Discard, out)
	return p, nil
}

// run starts the process on a thread that lives as long, as the process ends with it.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer close(p.ended)
	defer p.log.Close()

	err := p.command.Start()
	started <- err
	if err == nil {
		_ = p.command.Wait() // that it has ended is all
	}
}

// Kill ends it as a power cut would, and waits until it has ended.
func (p *Process) Kill() {
	_ = p.command.Process.Kill() // it may have ended
	<-p.ended
}

// Stop has it end in order, and waits until it has ended.
func (p *Process) Stop() {
	_ = p.command.Process.Signal(os.Interrupt) // it may have ended
	<-p.ended
}

// PID returns its number.
func (p *Process) PID() int { return p.command.Process.Pid }
