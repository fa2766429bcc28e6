package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/xml"
	"fhirdest.example/fhir/xml/xmltest"
)

// bothWays takes the resources of a directory to XML and back, and returns 1 unless
// all of them are what they were.
func bothWays(dir string, stdout, stderr io.Writer) int {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		fmt.Fprintln(stderr, "xml:", err)
		return 1
	}

	var mu sync.Mutex // guards the counts, and stderr
	passed, failed, long := 0, 0, 0
	files := make(chan string)
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for name := range files {
				resource, err := oneBothWays(name)
				mu.Lock()
				switch tooLong := (*tree.Error)(nil); {
				case errors.As(err, &tooLong) && tooLong.Code == "too-long":
					long++
				case err != nil:
					failed++
					fmt.Fprintf(stderr, "%s: %v\n", filepath.Base(name), err)
				case resource:
					passed++
				}
				mu.Unlock()
			}
		})
	}

	for _, name := range names {
		files <- name
	}
	close(files)
	work.Wait()

	fmt.Fprintf(stdout, "xml: %d of %d resources of %s are the same after XML; %d more are longer than a body may be\n",
		passed, passed+failed, filepath.Base(dir), long)
	if failed > 0 || passed == 0 {
		return 1
	}
	return 0
}

// oneBothWays takes the resource of a file to XML and back; false for a file that has
// none.
func oneBothWays(name string) (resource bool, err error) {
	body, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}

	root, err := tree.Parse(body)
	if err != nil {
		return false, err
	}
	if root.Get("resourceType").Text() == "" {
		return false, nil
	}

	want, err := xmltest.Canonical(body)
	if err != nil {
		return false, err
	}

	doc, err := xml.Write(body, xml.Options{Pretty: true})
	if err != nil {
		return false, err
	}

	back, err := xml.Read(doc)
	if err != nil {
		return false, err
	}

	got, err := xmltest.Canonical(back)
	if err == nil && got != want {
		err = fmt.Errorf("it came back as %.300s", got)
	}
	return true, err
}
