package proc

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

// A hangup arrives, several at once need not arrive apart, and none is lost
// while the reader is busy.
func TestHangups(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c := Hangups(ctx)
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}

	for range 3 {
		if err := self.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}

		select {
		case <-c:
		case <-time.After(2 * time.Minute):
			t.Fatal("it did not arrive")
		}
	}
}
