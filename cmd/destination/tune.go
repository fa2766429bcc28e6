package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// tune sets the runtime for this program's load, unless the environment does.
// Two threads more than cores let the one that commits to disk run while
// signature checks keep the cores busy; and the live heap is so small that at
// Go's usual setting collecting it costs a fifth of all CPU time under load
// (scripts/bench.d/tokens).
func tune() {
	const gcPercent = 400
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
