package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// printer shows what happened: results on out, traces on err; with -json one
// object on out and nothing else.
type printer struct {
	out, err io.Writer
	json     bool
	quiet    bool
	result   result
}

// result is what -json prints.
type result struct {
	Command string `json:"command"`
	OK      bool   `json:"ok"`
	Error   string `json:"error,omitempty"`

	Discovery any            `json:"discovery,omitempty"`
	Outcome   any            `json:"outcome,omitempty"`
	Lists     []fetch.State  `json:"lists,omitempty"`
	Body      jsontext.Value `json:"body,omitempty"`
}

// say prints a line of the result. Text of the other side cannot move the
// terminal's cursor or begin a line of its own.
func (p *printer) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintln(p.out, strings.Map(visible, fmt.Sprintf(format, args...)))
	}
}

func visible(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}

// trace prints each step of a decision.
func (p *printer) trace(tr *trace.Trace) {
	if p.json || tr == nil {
		return
	}

	headed := false
	for _, s := range tr.Steps {
		if p.quiet && !loud(s) {
			continue
		}

		if !headed {
			fmt.Fprintf(p.err, "%s (trace %s)\n", tr.Action, tr.ID)
			headed = true
		}
		p.step(s)
	}
}

func loud(s trace.Step) bool {
	return s.Verdict == trace.Warned || s.Verdict == trace.Refused
}

// marks are how each verdict is shown.
var marks = map[trace.Verdict]string{
	trace.Passed: "ok", trace.Warned: "WARN", trace.Refused: "FAIL", trace.Skipped: "--",
}

// flagsOf names the flags that concern a check, for those that a flag can mend.
var flagsOf = map[string]string{
	"discover.signed_metadata": "-anchor",
	"own.certificate":          "-cert and -key, or -p12",
	"own.uri":                  "-uri",
	"register.parameters":      "-name, -contact, -scope, -grant, -redirect, -logo",
	"register.demanded":        "-page, -logo, -tos, -policy",
	"register.accepted":        "originator help register lists them",
	"reply.connect":            "-tls-ca, -connect, -connect-name",
	"login.answer":             "-paste, -redirect",
	"login.request":            "-scope, -redirect",
	"token.hl7-b2b":            "-organization, -purpose, -subject-name, -consent-policy",
}

func (p *printer) step(s trace.Step) {
	if !loud(s) {
		text := s.Found
		if text == "" {
			text = s.Title
		}
		fmt.Fprintf(p.err, "  %-4s  %-26s  %s\n", marks[s.Verdict], s.Check, text)

		return
	}

	fmt.Fprintf(p.err, "  %-4s  %-26s  %s\n", marks[s.Verdict], s.Check, s.Title)
	for _, l := range []struct{ name, text string }{
		{"expected", s.Expected},
		{"found", s.Found},
		{"hint", s.Remedy},
		{"flags", flagsOf[s.Check]},
	} {
		if l.text != "" {
			fmt.Fprintf(p.err, "        %s: %s\n", l.name, l.text)
		}
	}
}

// failed ends a command that was refused. The trace has the reason.
func (p *printer) failed(err error) {
	var refusal *trace.Error
	text := err.Error()
	if errors.As(err, &refusal) {
		text = fmt.Sprintf("%s: %s", refusal.Check, refusal.Detail)
	}
	p.result.OK, p.result.Error = false, text
	if !p.json {
		for line := range strings.SplitSeq("stopped at "+text, "\n") {
			fmt.Fprintln(p.err, "originator:", strings.Map(visible, line))
		}
		return
	}

	if err := p.emit(); err != nil {
		fmt.Fprintf(p.err, "originator: %v\n", err)
	}
}

// done ends a command that went well.
func (p *printer) done() error {
	p.result.OK = true
	if p.json {
		return p.emit()
	}
	return nil
}

func (p *printer) emit() error {
	data, err := json.Marshal(p.result, jsontext.WithIndent("  "))
	if err == nil {
		_, err = fmt.Fprintf(p.out, "%s\n", data)
	}
	return err
}
