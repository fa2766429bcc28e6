// Command soak-gateway starts the gateway with its default ceilings, lets thousands of
// clients be slow at it in every way for a while, and measures what honest clients beside
// them notice, and the gateway's memory and processor time. It uses 127.0.0.1 only and
// ends what it started.
//
//	go run ./scripts/soak-gateway [-slow 5000] [-time 30s] [-gateway PROGRAM]
//
// It prints the figures and each goal that was missed, and exits 1 if there is one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// The goals, with 5,000 slow clients.
const (
	honestRate = 100 // requests a second
	maxMemory  = 256 << 20
	maxCPU     = 0.5 // of a processor
	maxP99     = 50 * time.Millisecond
)

func main() {
	slow := flag.Int("slow", 5000, "slow clients")
	length := flag.Duration("time", 30*time.Second, "of the measurement")
	program := flag.String("gateway", "", "the gateway's program; empty: it is built")
	flag.Parse()

	if err := run(*program, *slow, *length); err != nil {
		fmt.Fprintln(os.Stderr, "soak-gateway:", err)
		os.Exit(1)
	}
}

func run(program string, slow int, length time.Duration) error {
	dir, err := os.MkdirTemp("", "soak-gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	if program == "" {
		program = filepath.Join(dir, "gateway")
		build := exec.Command("go", "build", "-o", program, "./cmd/gateway")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return err
		}
	}

	e, err := newEnv(dir, program)
	if err != nil {
		return err
	}
	defer e.stop()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	crowd := e.crowd(ctx, slow)
	fmt.Printf("%d slow clients are connected\n", crowd.waitUntilConnected(slow))

	before, err := processorTime(e.gateway.Process.Pid)
	if err != nil {
		return err
	}

	begun := time.Now()
	h := e.honest(length)
	after, err := processorTime(e.gateway.Process.Pid)
	if err != nil {
		return fmt.Errorf("the gateway has ended: %w", err)
	}

	return report(e, crowd, h, (after-before).Seconds()/time.Since(begun).Seconds())
}

// report prints the figures, and returns the goals that were missed.
func report(e *env, crowd *crowd, h *latencies, cpu float64) error {
	memory, err := peakMemory(e.gateway.Process.Pid)
	if err != nil {
		return err
	}

	p50, p99 := h.percentile(0.5), h.percentile(0.99)
	fmt.Printf(
		"honest: %d answers, %d failed; p50 %v, p99 %v\n",
		len(h.all),
		h.failed,
		p50,
		p99,
	)
	fmt.Printf("gateway: %.2f of a processor, %d MiB at its peak\n", cpu, memory>>20)
	fmt.Printf(
		"slow clients: %d connected anew, by kind %v\n%s",
		crowd.again.Load(),
		crowd.ended(),
		e.health(),
	)

	var missed []error
	miss := func(is bool, format string, a ...any) {
		if is {
			missed = append(missed, fmt.Errorf("missed: "+format, a...))
		}
	}
	miss(h.failed > 0, "%d honest requests failed", h.failed)
	miss(p99 > maxP99, "p99 of %v, not %v", p99, maxP99)

	miss(memory > maxMemory, "%d MiB, not %d", memory>>20, maxMemory>>20)
	miss(cpu > maxCPU, "%.2f of a processor, not %.2f", cpu, maxCPU)
	return errors.Join(missed...)
}
