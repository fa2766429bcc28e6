package main

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"fhirdest.example/udap/trace"
)

func TestNothingMovesTheCursor(t *testing.T) {
	var out, err bytes.Buffer
	p := &printer{out: &out, err: &err}
	p.say("scope %s", "a\x1b[2J\nclient_id forged\u202e")
	tr := trace.NewTrace("register", time.Unix(0, 0))
	_ = tr.Refuse(trace.Check{Name: "x", Title: "x"}, "invalid_client", trace.Finding{Found: "a\x1b[2J\nforged"})
	p.trace(tr)
	p.failed(errors.New("not cancelled: 400, a\x1b[2J\u202e"))

	for _, b := range []string{out.String(), err.String()} {
		if bytes.ContainsAny([]byte(b), "\x1b\u202e") {
			t.Errorf("a control went through: %q", b)
		}
	}

	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
		t.Errorf("%d lines for one", n)
	}
}
