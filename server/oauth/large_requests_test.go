package oauth_test

import (
	"runtime"
	"strconv"
	"strings"
	"testing"

	"fhirdest.example/udap/udaptest"
)

// What is remembered of large requests, their traces and the scopes that were granted, does
// not keep the requests in memory: strangers could fill it.
func TestLargeRequestsAreNotKept(t *testing.T) {
	const requests = 32
	e := newEnv(t)
	c := e.client(e.w.A, "https://client.test/large")
	id := e.registered(c, with("scope", "system/Observation.rs"))

	for name, row := range map[string]struct {
		path   string
		size   int // of what makes a request large, in bytes
		status int
		body   func(i int) string // all the rest, with values that need no escapes
	}{
		"a stranger's": {
			path:   "/oauth/introspect",
			size:   1 << 20,
			status: 400,
			body:   func(int) string { return "token=x&client_assertion_type=none" },
		},
		"a client's": {
			path:   "/oauth/token",
			size:   200 << 10,
			status: 200,
			body: func(i int) string {
				form := e.form(c.Sign(t, udaptest.Assertion(id, e.now())))
				form.Del("scope")
				return form.Encode() + "&scope=system/Observation.rs?category=" + strconv.Itoa(i)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := heapInUse()
			for i := range requests {
				large := row.body(i) + "&unknown=" + strings.Repeat("x", row.size)
				if a := e.sent(row.path, large); a.status != row.status {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}

			kept := heapInUse() - before
			t.Logf("%d bytes are kept", kept)
			if kept > requests*int64(row.size)/2 {
				t.Errorf("%d bytes are kept of %d requests with %d bytes each", kept, requests, row.size)
			}
		})
	}
}

// heapInUse returns how many bytes of the heap are in use.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what a sync.Pool has goes at the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
