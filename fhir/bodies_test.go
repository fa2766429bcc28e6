package fhir_test

import (
	"bytes"
	"crypto/sha256"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"fhirdest.example/fhir/xml"
)

// kept remembers which bodies the file has: many requests have the same answer.
var kept struct {
	sync.Mutex
	seen map[[sha256.Size]byte]bool
}

// largest is the longest body that is kept: the validators take no string above
// 1 MB, which FHIR does not say of base64Binary.
const largest = 1 << 20

// relinked are bodies with an element of type uuid or oid that held the fullUrl
// of a transaction's entry: R4 (http, 3.1.0.11.2) has the link to that entry put
// there, which is neither.
var relinked = regexp.MustCompile(`"value(Uuid|Oid)":"Patient/`)

// keepBody appends a FHIR answer to the file that FHIR_BODIES names, one body in
// JSON a line, for validators that are not ours (scripts/test); without it, nothing.
func keepBody(t testing.TB, rec *httptest.ResponseRecorder) {
	name := os.Getenv("FHIR_BODIES")
	body := bytes.TrimSpace(rec.Body.Bytes())
	media := rec.Header().Get("Content-Type")
	if name != "" && strings.HasPrefix(media, "application/fhir+xml") && len(body) > 0 {
		var err error
		if body, err = xml.Read(body); err != nil {
			t.Error(err)
		}
		media = "application/fhir+json"
	}

	if name == "" || len(body) == 0 || len(body) > largest || relinked.Match(body) ||
		!strings.HasPrefix(media, "application/fhir+json") {
		return
	}

	kept.Lock()
	defer kept.Unlock()
	sum := sha256.Sum256(body)
	if kept.seen[sum] {
		return
	}

	if kept.seen == nil {
		kept.seen = map[[sha256.Size]byte]bool{}
	}
	kept.seen[sum] = true
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	if _, err := f.Write(append(bytes.ReplaceAll(body, []byte("\n"), []byte(" ")), '\n')); err != nil {
		t.Fatal(err)
	}
}
