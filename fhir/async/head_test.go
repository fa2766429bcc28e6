package async_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
)

// HEAD begins no work: it is a safe method (RFC 9110, 9.2.1). A read is answered at
// once, and an operation that is done in the background only is refused.
//
// Covers: ER-18
func TestHeadBeginsNoWork(t *testing.T) {
	may := make(chan bool)
	close(may)
	e := asyncenv.New(t, func(e *asyncenv.Env) { e.Kinds = exports(half{may}) })

	for path, want := range map[string]int{
		"/Patient":         http.StatusOK,
		"/Patient/nobody":  http.StatusNotFound,
		"/$export":         http.StatusMethodNotAllowed,
		"/Patient/$export": http.StatusMethodNotAllowed,
	} {
		w := e.Do("HEAD", path, asyncenv.All, "", "Prefer", "respond-async")
		if w.Code != want || w.Header().Get("Content-Location") != "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}

	e.Must(e.Manager.Store.Jobs(t.Context(), func(j async.Job) bool {
		t.Errorf("a job: %s %v", j.Asked.Method, j.Asked.Path)
		return true
	}))
	if left, err := os.ReadDir(filepath.Join(e.Dir, "jobs")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
