//go:build unix

package gateway

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// A wait for the next hop that begins when the client is known to have gone ends at once:
// what ended when that was seen may have been another one.
//
// Covers: case 312
func TestNoWaitForAClientThatHasGone(t *testing.T) {
	for name, begin := range map[string]func(*deadline, *janitor, *rawConn){
		"of the answer": func(d *deadline, j *janitor, up *rawConn) { d.awaits(j, up, time.Hour) },
		"of the rest":   func(d *deadline, j *janitor, up *rawConn) { d.reads(j, up, time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			client, peer := rawPair(t)
			up, _ := rawPair(t)
			var j janitor
			d := deadline{client: client}
			d.writes(&j, up, time.Hour)

			peer.(*net.TCPConn).SetLinger(0)
			peer.Close()
			for end := time.Now().Add(time.Minute); !d.clientGone() &&
				time.Now().Before(end); time.Sleep(time.Millisecond) {
				d.probe()
			}

			if !d.clientGone() {
				t.Fatal("the reset is not noticed")
			}

			up.SetReadDeadline(time.Time{})
			ended := make(chan error, 1)
			begin(&d, &j, up)
			go func() {
				_, err := up.Read(make([]byte, 1))
				ended <- err
			}()

			select {
			case err := <-ended:
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error(err)
				}
			case <-time.After(time.Minute):
				t.Error("it is waited for")
			}
		})
	}
}
