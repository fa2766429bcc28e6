package bolt

import (
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/udap/trace"
)

// A client_id is asked for as a part of the JWT that names it. What is kept of the
// client must not keep the JWT in memory, which may be long.
//
// Covers: case 098
func TestKeptClientsKeepNoRequest(t *testing.T) {
	s := openTrust(t, filepath.Join(t.TempDir(), "trust.bolt"))
	defer s.Close()

	r := oauth.Registration{
		ID:        "client-1",
		Community: "urn:a",
		Client:    "https://c.test",
	}
	if _, _, err := s.Register(t.Context(), numbered(0, storetest.Start), r); err != nil {
		t.Fatal(err)
	}

	request := strings.Repeat("x", 64<<10) + "client-1"
	asked := request[64<<10:]
	for range 2 { // read from the file, then kept
		found, err := s.Client(t.Context(), trace.ClientID(asked))
		if err != nil || found == nil || found.ID != r.ID {
			t.Fatalf("%+v, %v", found, err)
		}
	}

	if len(s.clients.rows) != 1 {
		t.Errorf("%d clients are kept, not 1", len(s.clients.rows))
	}
	for id := range s.clients.rows {
		if unsafe.StringData(string(id)) == unsafe.StringData(asked) {
			t.Error("the client is kept by a part of the request")
		}
	}
}
