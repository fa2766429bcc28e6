package main

import (
	"os"
	"path/filepath"
	"testing"

	"fhirdest.example/fhir/table"
)

// What is checked in is what the table gives today.
func TestFilesAreMadeFromTheTable(t *testing.T) {
	dir := t.TempDir()
	if err := run(table.R4(), dir); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"params.txt", "compartment.txt"} {
		made, err1 := os.ReadFile(filepath.Join(dir, name))
		kept, err2 := os.ReadFile(filepath.Join("..", "..", name))
		if err1 != nil || err2 != nil || string(made) != string(kept) {
			t.Errorf("%s is not what go generate makes (%v, %v)", name, err1, err2)
		}
	}
}
