package export_test

import (
	"context"
	"io/fs"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/export"
)

// What an export has in memory does not grow with what it exports: four times the
// resources, which are 10 MB more, need no more than a few MB of caches.
func TestMemoryDoesNotGrowWithTheExport(t *testing.T) {
	var live, more uint64
	var size, larger int64
	t.Run("few", func(t *testing.T) { live, size = weighed(t, 40) })
	t.Run("many", func(t *testing.T) { more, larger = weighed(t, 160) })
	t.Logf("%d MB of files: %.1f MB live; %d MB: %.1f MB", size>>20, inMB(live), larger>>20, inMB(more))

	if larger-size < 8<<20 {
		t.Errorf("the test compares exports of %d and %d bytes", size, larger)
	}
	if more > live+4<<20 {
		t.Errorf("%.1f MB were live, and %.1f MB with four times the resources", inMB(live), inMB(more))
	}
}

func inMB(n uint64) float64 { return float64(n) / (1 << 20) }

// weighed exports the sample of some patients. It returns the most memory that was live
// when a transaction began, that of the tests included, and the bytes of all files.
func weighed(t *testing.T, patients int) (live uint64, size int64) {
	t.Helper()
	w := &weighing{}
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Kinds = func(e *asyncenv.Env) map[string]async.Kind {
			w.Store = e.Store
			return map[string]async.Kind{"$export": export.New(export.Config{
				PublicBase: asyncenv.Base,
				Store:      w,
				Service:    e.Service,
			})}
		}
	})
	e.Must(e.Service.Seed(t.Context(), patients))

	at := e.Begin("GET", "/$export", asyncenv.All, "", "Accept", "application/fhir+json")
	if a := e.Wait(at, asyncenv.All); a.Code != http.StatusOK {
		t.Fatal(a.Code, a.Body)
	}

	err := filepath.WalkDir(filepath.Join(e.Dir, "jobs"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	e.Must(err)
	return w.most.Load(), size
}

// weighing is a store that notes, before each transaction, how much memory is live.
type weighing struct {
	fhir.Store
	most atomic.Uint64
}

func (w *weighing) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	w.most.Store(max(w.most.Load(), inUse()))
	return w.Store.View(ctx, f)
}

// inUse returns the bytes of the heap that a collection finds live.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // pools keep what they have through one
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}
