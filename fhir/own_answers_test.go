package fhir_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"fhirdest.example/fhir/sample"
)

// Requests that are answered at the same time each have an answer of their own, byte
// for byte what they have alone: in JSON and XML, cut down, inside a batch, and over a
// connection, whose server writes the last of an answer when its handler is done.
func TestAnswersAtTheSameTimeAreTheirOwn(t *testing.T) {
	const patients = 12
	w := newEnv(t, patients)
	server := httptest.NewServer(w.h)
	defer server.Close()

	ask := func(method, path, accept, body string) string {
		return askOver(t, server, method, path, accept, body)
	}
	var requests []func() string

	for i := range patients {
		id := sample.PatientID(i)
		path := "/Patient/" + id
		batch := `{"resourceType":"Bundle","type":"batch","entry":[
			{"request":{"method":"GET","url":"Patient/` + id + `"}},
			{"request":{"method":"GET","url":"Patient/` + sample.PatientID(patients-1-i) + `"}}]}`

		requests = append(requests,
			func() string { return ask("GET", path, "application/fhir+json", "") },
			func() string { return ask("GET", path+"/_history/1", "application/fhir+json", "") },
			func() string { return ask("GET", path, "application/fhir+xml", "") },
			func() string { return ask("GET", path+"?_elements=name", "application/fhir+json", "") },
			func() string { return ask("GET", path+"?_pretty=true", "application/fhir+json", "") },
			func() string { return ask("POST", "", "application/fhir+json", batch) },
		)
	}

	alone := make([]string, len(requests))
	for i, request := range requests {
		alone[i] = request()
	}

	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for i := range 2 * len(requests) {
				n := (i*(client+1) + client) % len(requests)
				if got := requests[n](); got != alone[n] {
					t.Errorf("request %d: %.200q, and alone %.200q", n, got, alone[n])
				}
			}
		})
	}

	clients.Wait()
}

func askOver(t *testing.T, server *httptest.Server, method, path, accept, body string) string {
	url := server.URL + "/acme/fhir" + path
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return ""
	}

	r.Header.Set("Authorization", "Bearer system/*.cruds")
	r.Header.Set("Accept", accept)
	r.Header.Set("Content-Type", "application/fhir+json")

	resp, err := server.Client().Do(r)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()

	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s %s: %d, %v: %.200s", method, path, resp.StatusCode, err, text)
	}
	return resp.Header.Get("ETag") + " " + resp.Header.Get("Content-Type") + "\n" + string(text)
}
