package server_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
)

// early are requests that are refused before their body is read, up to the
// fields of framing.
var early = map[string]struct {
	head   string
	status int
}{
	"another host": {"POST " + token + " HTTP/1.1\r\nHost: evil.example\r\n", 421},
	"no such path": {"POST /acme/nothing HTTP/1.1\r\nHost: fhir.test\r\n", 404},
	"no such base": {"POST /other/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\n", 404},
	"method of a token": {"PUT " + token + " HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n", 405},
	"type of a token": {"POST " + token + " HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: text/plain\r\n", 415},
	"type of a registration": {"POST /acme/oauth/register HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Content-Type: text/plain\r\n", 415},
	"query of an introspection": {"POST /acme/oauth/introspect?a HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n", 400},
	"coding": {"POST /acme/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\nContent-Encoding: gzip\r\n", 415},
	"no token": {"POST /acme/fhir/Patient HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Content-Type: application/fhir+json\r\n", 401},
	"bad token": {"PUT /acme/fhir/Patient/1 HTTP/1.1\r\nHost: fhir.test\r\nAuthorization: Bearer x\r\n" +
		"Content-Type: application/fhir+json\r\n", 401},
	"field that Connection hides": {"POST /acme/fhir HTTP/1.1\r\nHost: fhir.test\r\nConnection: content-type\r\n" +
		"Content-Type: application/fhir+json\r\n", 400},
}

// A client that waits for 100 Continue gets a refusal instead, at once, and
// never sends its body (RFC 9110 10.1.1). It would else wait for hours here.
func TestRefusalsDoNotWaitForTheBody(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		w.Config.Timeouts.Read, w.Config.Timeouts.Slow, w.Config.Timeouts.Idle = time.Hour, time.Hour, time.Hour
	})

	for name, c := range early {
		for framing, fields := range map[string]string{
			"short": "Content-Length: 10\r\n", "long": "Content-Length: 1000000\r\n",
			"chunked": "Transfer-Encoding: chunked\r\n",
		} {
			t.Run(name+", "+framing, func(t *testing.T) {
				t.Parallel()
				text := d.Raw(c.head + "Expect: 100-continue\r\n" + fields + "\r\n")
				if strings.Contains(text, "100 Continue") {
					t.Errorf("the body is asked for: %q", text)
				}
				if got := answers(t, text); len(got) != 1 || got[0] != c.status {
					t.Errorf("answers %v, want %d\n%s", got, c.status, text)
				}
			})
		}
	}

	t.Run("too long", func(t *testing.T) {
		text := d.Raw(post("Expect: 100-continue\r\nContent-Length: 1000000000\r\n"))
		if got := answers(t, text); len(got) != 1 || got[0] != 413 {
			t.Errorf("answers %v, want 413\n%s", got, text)
		}
	})
}

// Clients that send all they have before they read an answer, as those of Java,
// Node and Python do, get the refusal of a large upload, not a reset
// (RFC 9112 9.6).
func TestRefusalsOfLargeUploadsArrive(t *testing.T) {
	const size = 24 << 20
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Limits.Body = 2 * size })
	rows := map[string]struct {
		head   string
		status int
	}{"too long": {"POST " + token + " HTTP/1.1\r\nHost: fhir.test\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n", 413}}

	for name, c := range early {
		if c.status != 421 && c.status != 401 {
			continue
		}
		rows[name] = c
	}

	for name, c := range rows {
		for _, chunked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				conn, err := tls.Dial("tcp", d.Addr, d.TLSClient("fhir.test"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()

				_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))

				req, err := http.NewRequest("POST", "https://fhir.test/", nil)
				if err != nil {
					t.Fatal(err)
				}
				send(t, conn, c.head, chunked, size)

				res, err := http.ReadResponse(bufio.NewReader(conn), req)
				if err != nil {
					t.Fatalf("the refusal is lost: %v", err)
				}
				if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != c.status {
					t.Errorf("%s, want %d; %v", res.Status, c.status, err)
				}
			})
		}
	}
}

// send writes a whole request with a body of a size.
func send(t *testing.T, w io.Writer, head string, chunked bool, size int) {
	t.Helper()
	const part = 16 << 10
	data := strings.Repeat("a", part)
	fields, last := "Content-Length: 25165824\r\n\r\n", ""
	if chunked {
		fields, data, last = "Transfer-Encoding: chunked\r\n\r\n", "4000\r\n"+data+"\r\n", "0\r\n\r\n"
	}

	if _, err := io.WriteString(w, head+fields); err != nil {
		t.Fatal(err)
	}

	for range size / part {
		if _, err := io.WriteString(w, data); err != nil {
			t.Fatalf("the connection is reset while the body is sent: %v", err)
		}
	}

	if _, err := io.WriteString(w, last); err != nil {
		t.Fatal(err)
	}
}
