// Package hangups tells a running program that it was asked to read its files
// again.
package hangups

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Until passes SIGHUP on until ctx ends. One that waits already stands for
// those that follow.
func Until(ctx context.Context) <-chan struct{} {
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
