package xml

import (
	"sync"
	"testing"
)

// What one writer used is used again by another: many at once, long Bundles and
// refused bodies among them, write what each would alone.
func TestManyWriteAtOnce(t *testing.T) {
	bodies := append([][]byte{longBundle(t, `{"resourceType":"Bundle","type":"searchset",`, `}`)}, odd...)
	var want []string
	for _, body := range bodies {
		doc, err := Write(body, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(doc))
	}

	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10 {
				for i, body := range bodies {
					if doc, err := Write(body, Options{}); err != nil || string(doc) != want[i] {
						t.Errorf("%v: %.300s, alone %.300s", err, doc, want[i])
					}
					if _, err := Write([]byte(`{"resourceType":"Patient","contained":[{"id":"x"}]}`), Options{}); err == nil {
						t.Error("accepted")
					}
				}
			}
		})
	}
	all.Wait()
}
