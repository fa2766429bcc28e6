package wire

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// kept is a copy of one exchange.
type kept struct {
	all *copies

	reqHead, reqBody, ansHead, ansBody []byte

	request, answer Message
	cut             bool
}

// copies gathers kept exchanges in the order of their ends.
type copies struct {
	mu    sync.Mutex
	ended []*kept
}

func (k *kept) RequestHead(p []byte) { k.reqHead = append(k.reqHead, p...) }
func (k *kept) RequestBody(p []byte) { k.reqBody = append(k.reqBody, p...) }
func (k *kept) AnswerHead(p []byte)  { k.ansHead = append(k.ansHead, p...) }
func (k *kept) AnswerBody(p []byte)  { k.ansBody = append(k.ansBody, p...) }

func (k *kept) Ended(request, answer *Message, cut bool) {
	k.request, k.answer, k.cut = *request, *answer, cut
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	k.all.ended = append(k.all.ended, k)
}

// String shows what the tests compare: the request line, the bodies and the status.
func (k *kept) String() string {
	line, _, _ := bytes.Cut(k.reqHead, []byte("\r\n"))
	return fmt.Sprintf("%q %q %d %q cut=%t", line, k.reqBody, k.answer.Status, k.ansBody, k.cut)
}

// A copy has the bytes of one exchange and its digests: of pipelined requests and
// chunked bodies, of one that is refused for its framing, and of one that is cut.
func TestCopiesHaveWhatWasOnTheWire(t *testing.T) {
	all := &copies{}
	w := serve(t, func(c *ListenerConfig) {
		c.Record = nil
		c.Copy = func(from net.Addr, conn string, head []byte) Copy {
			if from.String() == "" || conn != "c" {
				t.Errorf("connection %q from %q", conn, from)
			}
			if bytes.Contains(head, []byte("/not ")) {
				return nil
			}
			return &kept{all: all}
		}
	}, func(rw http.ResponseWriter, r *http.Request) {
		k, _ := CopyOf(r.Context()).(*kept)
		if (k == nil) != (r.URL.Path == "/not") {
			t.Errorf("%s has the copy %v", r.URL.Path, k)
		}
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/cut" {
			rw.Header().Set("Content-Length", "9")
			fmt.Fprint(rw, "short")
			http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}

		fmt.Fprintf(rw, "%s:%s", r.URL.Path, body)
	})

	chunked := "POST /two HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
	c := w.dial(t)
	io.WriteString(c, "GET /one HTTP/1.1\r\nHost: x\r\n\r\n"+chunked+
		"GET /not HTTP/1.1\r\nHost: x\r\n\r\nGET /bad HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
	io.Copy(io.Discard, c)
	w.idle(t)
	c = w.dial(t)
	io.WriteString(c, "GET /cut HTTP/1.1\r\nHost: x\r\n\r\n")
	io.Copy(io.Discard, c)

	w.idle(t)

	all.mu.Lock()
	defer all.mu.Unlock()
	var got []string
	for _, k := range all.ended {
		got = append(got, k.String())
	}
	want := []string{
		`"GET /one HTTP/1.1" "" 200 "/one:" cut=false`,
		`"POST /two HTTP/1.1" "abcde" 200 "/two:abcde" cut=false`,
		`"GET /bad HTTP/1.1" "" 400 "" cut=false`,
		`"GET /cut HTTP/1.1" "" 200 "short" cut=true`,
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Fatalf("copies:\n%s\nwant\n%s", a, b)
	}

	if m := all.ended[1].request; m.In.Sum != sha256.Sum256([]byte(chunked)) || m.Seq != 2 || m.Conn != "c" {
		t.Errorf("the second request is %+v", m)
	}
}

// idle waits until no connection is open.
func (w *env) idle(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); w.open.Load() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are open", w.open.Load())
		}
	}
}
