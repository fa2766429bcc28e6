package answer

import (
	"io"
	"net/http"
)

// maxKept bounds an answer that a fault changes, in bytes. A longer one passes as
// it is.
const maxKept = 4 << 20

// keeper passes an answer on, or keeps it when it is one that a fault changes.
type keeper struct {
	http.ResponseWriter
	wants func(status int, h http.Header) bool

	decided bool
	keeps   bool
	status  int
	body    []byte
}

// Unwrap returns the writer below, for http.ResponseController.
func (k *keeper) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// WriteHeader decides whether the answer is kept. An interim answer passes.
func (k *keeper) WriteHeader(status int) {
	switch {
	case status >= 100 && status < 200:
		k.ResponseWriter.WriteHeader(status)
		return
	case k.decide(status):
		return
	}
	k.ResponseWriter.WriteHeader(status)
}

// decide reports whether the answer is kept, and decides that at the first call.
func (k *keeper) decide(status int) bool {
	if !k.decided {
		k.decided, k.status = true, status
		k.keeps = k.wants(status, k.Header())
	}
	return k.keeps
}

// Write keeps or passes bytes of the body.
func (k *keeper) Write(p []byte) (int, error) {
	if !k.decide(http.StatusOK) {
		return k.ResponseWriter.Write(p)
	}
	if len(k.body)+len(p) <= maxKept {
		k.body = append(k.body, p...)
		return len(p), nil
	}

	k.keeps = false
	k.ResponseWriter.WriteHeader(k.status)
	if _, err := k.ResponseWriter.Write(k.body); err != nil {
		return 0, err
	}
	k.body = nil

	return k.ResponseWriter.Write(p)
}

// WriteString is Write: net/http frames the two differently.
func (k *keeper) WriteString(s string) (int, error) {
	if !k.decide(http.StatusOK) {
		return io.WriteString(k.ResponseWriter, s)
	}
	return k.Write([]byte(s))
}

// ReadFrom is Write for what is copied, for the same reason.
func (k *keeper) ReadFrom(r io.Reader) (int64, error) {
	if !k.decide(http.StatusOK) {
		return io.Copy(k.ResponseWriter, r)
	}
	return io.Copy(struct{ io.Writer }{k}, r)
}

// Flush sends what has been written, unless the answer is kept.
func (k *keeper) Flush() {
	if k.decide(http.StatusOK) {
		return
	}
	_ = http.NewResponseController(k.ResponseWriter).Flush() // as http.Flusher has no error
}
