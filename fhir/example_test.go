package fhir_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/bolt"
)

// A service over a file, with two synthetic patients, that lets everybody read.
func Example() {
	dir, err := os.MkdirTemp("", "fhir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := bolt.OpenFHIR(filepath.Join(dir, "fhir.bolt"), bolt.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	service, err := fhir.New(fhir.Config{
		PublicBase: "https://fhir.example.org/r4",
		Store:      store,
		Now:        time.Now,
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			scopes, _ := scope.ParseSet([]string{"system/*.rs"})
			return &fhir.Grant{Scopes: scopes, Client: "anybody"}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer service.Close()

	if err := service.Seed(context.Background(), 2); err != nil {
		log.Fatal(err)
	}

	answer := httptest.NewRecorder()
	service.ServeHTTP(answer, httptest.NewRequest("GET", "https://fhir.example.org/r4/Patient?_summary=count", nil))
	fmt.Println(answer.Code)
	fmt.Println(answer.Body)
	// Output:
	// 200
	// {"resourceType":"Bundle","type":"searchset","total":2,"link":[{"relation":"self","url":"https://fhir.example.org/r4/Patient?_summary=count"}]}
}
