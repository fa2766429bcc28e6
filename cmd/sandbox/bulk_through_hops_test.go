package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/client"
)

// memory is a file that is downloaded to.
type memory struct{ bytes.Buffer }

func (m *memory) Size() int64 { return int64(m.Len()) }

func (m *memory) Reset() error {
	m.Buffer.Reset()
	return nil
}

// An export's kick-off, status, files and removal pass both intermediaries byte for
// byte, by the evidence of every hop, and every URL in them is under the public base.
//
// Covers: ER-18
func TestBulkDataThroughBothIntermediaries(t *testing.T) {
	st, d := bedFor(t, testbed.Config{}, nil)
	ctx := t.Context()
	p, err := d.newParty(d.manifest.Communities[0], "bulk", certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	found, err := d.discover(ctx, p.client)
	if err != nil {
		t.Fatal(err)
	}

	const scope = "system/Patient.rs system/Observation.rs"
	reg, err := d.register(ctx, p.client, found, scope)
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.askToken(ctx, p.client, found, reg.ClientID, scope)
	if err != nil {
		t.Fatal(err)
	}

	b := client.Bulk{Client: p.client}
	job, err := b.Export(ctx, client.ExportRequest{
		Path:  "Patient/$export?_type=Patient,Observation",
		Token: token.Access,
	})
	if err != nil {
		t.Fatal(err)
	}

	var m *client.Manifest
	for m == nil {
		s, err := b.ExportStatus(ctx, job.Status, token.Access)
		if err != nil {
			t.Fatal(err)
		}
		if m = s.Manifest; m == nil {
			time.Sleep(min(s.Retry, 100*time.Millisecond))
		}
	}

	for _, f := range m.Output {
		var to memory
		if _, err := b.Download(ctx, f.URL, token.Access, &to); err != nil {
			t.Fatal(err)
		}
		if lines := int64(strings.Count(to.String(), "\n")); f.Count == nil || lines != *f.Count || lines == 0 {
			t.Errorf("%s: %d lines", f.URL, lines)
		}

		for _, url := range []string{f.URL, job.Status, m.Request} {
			if !strings.HasPrefix(url, d.manifest.PublicBase+"/") {
				t.Errorf("%s is not under the public base", url)
			}
		}
	}

	if _, err := b.EndExport(ctx, job.Status, token.Access); err != nil {
		t.Error(err)
	}
	if _, err := b.ExportStatus(ctx, job.Status, token.Access); err == nil {
		t.Error("the export is still there")
	}

	answer, err := d.lastAnswer()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.passed(ctx, answer, true); err != nil {
		t.Error(err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}

	if err := st.Close(); err != nil {
		t.Error(err)
	}
	compareByHand(t, d.dir, 0)
}
