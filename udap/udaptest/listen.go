package udaptest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Listen listens at a loopback port that is below those which a system gives to programs
// that ask for any: whoever listens there again, later, finds it free.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000)))
		if err == nil {
			return l
		}
	}
	t.Fatal("there is no loopback port from 20000 to 31999 that is free")
	return nil
}
