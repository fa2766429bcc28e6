package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// tune sets the scheduler and the garbage collector for this program's load, unless the
// environment does. Messages allocate nothing and connections do, most of it for their
// handshakes only: collecting that seldom saves a fifth of the processor time of a new
// connection, and what is left of it is given back once no more connections come.
func tune(ctx context.Context) {
	go followLoad(ctx)
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(100)
	go tidy(ctx)
}

// limitMemory has the garbage collector keep the process within the memory that its
// ceilings are made for, unless the environment sets a limit.
func limitMemory(bytes int64) {
	if bytes > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
}

// quietBytes is less than what any connections allocate in a second, and worthBytes what
// is worth a collection.
const (
	quietBytes = 64 << 10
	worthBytes = 1 << 20
)

// tidy collects what a burst of connections has left, in the first quiet second.
func tidy(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()

	for last, collected := allocated(), uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}

		now := allocated()
		if now-last < quietBytes && now-collected > worthBytes {
			debug.FreeOSMemory()
			collected = allocated()
		}
		last = now
	}
}

// allocated is how many bytes have ever been allocated.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
