package proc

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Hangups returns a channel that receives when the process gets SIGHUP, until ctx
// ends. One that is pending covers those that follow.
func Hangups(ctx context.Context) <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	out := make(chan struct{}, 1)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}()

	return out
}
