package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/look"
)

// accepts verifies the query with which a browser came back.
type accepts func(query string) (*client.Redirected, error)

// listens reports whether a redirect URI leads to this machine, so that this
// program can answer it: http at a loopback address (RFC 8252 7.3), with a port.
func listens(redirect string) bool {
	u, err := url.Parse(redirect)
	return err == nil && u.Scheme == "http" && netname.Loopback(u.Hostname()) && u.Port() != ""
}

// listened opens the browser and waits for it at the loopback redirect URI.
func (c *call) listened(ctx context.Context, target, redirect string, accept accepts) (*client.Redirected, error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return nil, err
	}

	ln, err := net.Listen("tcp", u.Host)
	if err != nil {
		return nil, complaint.New("the redirect URI cannot be served: "+err.Error(),
			"end what listens there, or register another port; -paste needs none")
	}

	h := &callback{
		path:   u.EscapedPath(),
		accept: accept,
		result: make(chan outcome, 1),
	}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    64 << 10,
	}
	go server.Serve(ln) //nolint:errcheck // it ends with Shutdown below
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(end)
	}()

	c.browse(target)
	return h.wait(ctx, c.wait)
}

// outcome is what came back.
type outcome struct {
	answer *client.Redirected
	err    error
}

// callback answers the redirect URI. It ends with the first answer to this
// request; whatever else asks it, such as a page that tries this port, is refused
// and changes nothing.
type callback struct {
	path   string
	accept accepts
	result chan outcome
}

func (h *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.EscapedPath() != h.path || r.Method != http.MethodGet {
		http.Error(w, "There is no such page.", http.StatusNotFound)
		return
	}

	answer, err := h.accept(r.URL.RawQuery)
	if errors.Is(err, client.ErrState) {
		http.Error(w, "This does not belong to the sign-in under way.", http.StatusBadRequest)
		return
	}

	text := "You are signed in. Close this window and return to the terminal."
	switch {
	case err != nil:
		text = "The answer was not accepted. The terminal shows why."
	case answer.Refusal != nil:
		text = "Access was not granted. The terminal shows why."
	}
	page(w, text)

	select {
	case h.result <- outcome{answer, err}:
	default: // a second answer
	}
}

var callbackPage = template.Must(look.Template("callback").Parse(`<!DOCTYPE html>
<html lang="en">
{{template "look-head" "Originator"}}
<body>
<header><div class="bar">{{template "look-site" "Originator"}}</div></header>
<main><div class="card narrow"><h1>{{.}}</h1></div></main>
</body>
</html>
`))

// page shows one sentence.
func page(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = callbackPage.Execute(w, text) // the browser is gone
}

func (h *callback) wait(ctx context.Context, most time.Duration) (*client.Redirected, error) {
	timeout := time.NewTimer(most)
	defer timeout.Stop()

	select {
	case got := <-h.result:
		return got.answer, got.err
	case <-timeout.C:
		return nil, errNoAnswer
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// browse shows the URL, and opens the browser unless it is not wanted.
func (c *call) browse(target string) {
	fmt.Fprintf(c.out.err, "open this in a browser:\n%s\n", target)
	program := browserProgram(c.browser)
	if len(program) == 0 {
		return
	}

	command := exec.Command(program[0], append(program[1:], target)...)
	if err := command.Start(); err != nil {
		fmt.Fprintf(c.out.err, "the browser was not opened: %v\n", err)
		return
	}
	go func() { _ = command.Wait() }()
}

// browserProgram returns the command that opens a URL: what -browser names, the
// one that the environment variable BROWSER names, or the system's. It is empty
// for "none".
func browserProgram(name string) []string {
	orElse(&name, os.Getenv("BROWSER"))
	switch {
	case name == "none":
		return nil
	case name != "":
		return strings.Fields(name)
	case runtime.GOOS == "darwin":
		return []string{"open"}
	case runtime.GOOS == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	return []string{"xdg-open"}
}

// maxPasted bounds a line of the terminal, in bytes.
const maxPasted = 64 << 10

// pasted shows the URL, and reads the redirect URL that the browser ended at.
func (c *call) pasted(ctx context.Context, target, redirect string, accept accepts) (*client.Redirected, error) {
	c.browse(target)
	fmt.Fprintf(c.out.err, "then paste the address that the browser ends at (%s?...):\n", redirect)

	lines := make(chan outcome, 1)
	go func() { lines <- readPasted(c.in, redirect, accept) }()

	select {
	case got := <-lines:
		return got.answer, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func readPasted(in io.Reader, redirect string, accept accepts) outcome {
	line, err := bufio.NewReader(io.LimitReader(in, maxPasted)).ReadString('\n')
	text := strings.TrimSpace(line)
	if text == "" {
		return outcome{err: complaint.New(fmt.Sprintf("nothing was pasted (%v)", err), "")}
	}

	base, query, found := strings.Cut(text, "?")
	if !found || base != redirect {
		return outcome{err: complaint.New("that is not the redirect URI with an answer",
			"copy the whole address, from "+redirect+"? on")}
	}

	answer, err := accept(query)
	return outcome{answer, err}
}
