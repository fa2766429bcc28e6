package bolt_test

import (
	"path/filepath"
	"testing"

	"fhirdest.example/server/bolt"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/lab/labtest"
)

func TestLab(t *testing.T) {
	dirs := map[testing.TB]string{}
	labtest.Test(t, func(tb testing.TB) lab.Store {
		if dirs[tb] == "" {
			dirs[tb] = tb.TempDir()
		}
		s, err := bolt.OpenLab(filepath.Join(dirs[tb], "lab.bolt"), bolt.Options{})
		if err != nil {
			tb.Fatal(err)
		}
		return s
	})
}
