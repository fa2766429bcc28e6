package conform_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The URLs of the guide, which change with its editions, are in this package alone.
//
// Covers: D-51
func TestGuidesAreInOnePlace(t *testing.T) {
	const root, own = "../..", "../../udap/conform/"
	const guide = "hl7.org/fhir/us/udap-security"
	found := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != root:
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}

		text, err := os.ReadFile(name)
		if err != nil || !strings.Contains(string(text), guide) {
			return err
		}
		found++
		if filepath.Dir(name)+"/" != own {
			t.Errorf("%s has a URL of the guide", name)
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Errorf("%d files, %v", found, err)
	}
}
