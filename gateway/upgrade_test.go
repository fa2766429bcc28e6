package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// upgrades are requests that a next hop may read as the end of HTTP on the connection.
// Those with a body, which such a next hop would read as another protocol, are refused.
var upgrades = map[string]struct {
	in     string
	passes bool
}{
	"websocket": {"GET /acme" + heads + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", true},
	"h2c": {
		"GET /acme" + heads + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		true,
	},
	"TLS":                {"OPTIONS *" + heads + "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n", true},
	"without Connection": {"GET /acme" + heads + "Upgrade: x\r\n\r\n", true},
	"no value":           {"GET /acme" + heads + "Connection: upgrade\r\nUpgrade:\r\n\r\n", true},
	"another case":       {"DELETE /acme" + heads + "cONNECTION: uPGRADE\r\nuPGRADE: x/1, y\r\n\r\n", true},
	"two fields":         {"GET /acme" + heads + "Upgrade: x\r\nConnection: keep-alive\r\nUpgrade: y\r\n\r\n", true},
	"no body announced":  {post + "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n", true},
	"a body":             {post + "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 44\r\n\r\n" + get, false},
	"chunks":             {post + "Connection: Upgrade\r\nUpgrade: x\r\n" + chunked + "3\r\nGET\r\n0\r\n\r\n", false},
	"a body to come": {
		post + "Connection: Upgrade\r\nUpgrade: x\r\nExpect: 100-continue\r\nContent-Length: 44\r\n\r\n",
		false,
	},
	"CONNECT":            {"CONNECT /acme" + heads + "\r\n", false},
	"CONNECT to a host":  {"CONNECT fhir.example:443" + heads + "\r\n", false},
	"CONNECT with body":  {"CONNECT fhir.example:443" + heads + "Content-Length: 44\r\n\r\n" + get, false},
	"CONNECT and switch": {"CONNECT fhir.example:443" + heads + "Upgrade: x\r\n\r\n", false},
}

// switcher is a next hop that accepts every upgrade without an answer that shows it, as
// Node's server with a listener can: what follows is not HTTP to it.
func switcher(c net.Conn) {
	br := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}

		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if _, ok := req.Header["Upgrade"]; ok || req.Method == "CONNECT" {
			io.Copy(io.Discard, br)
			return
		}
		io.Copy(io.Discard, req.Body)
	}
}

// After a request that may have ended HTTP at the next hop, nothing more passes on that
// pair of connections, whether it was there already or is sent after the answer.
//
// Covers: ER-07, case 293, 304
func TestNothingFollowsAnUpgrade(t *testing.T) {
	b := newBackend(t, switcher)
	w := newEnv(t, b, nil)
	for name, c := range upgrades {
		for when, later := range map[string]bool{"at once": false, "after the answer": true} {
			t.Run(name+"/"+when, func(t *testing.T) {
				b.clear()
				w.evidence.clear()
				answer := askAround(t, w, c.in, later)
				b.settle(t)
				checkUpgrade(t, b, c.in, answer, c.passes)
			})
		}
	}
}

// askAround sends a good request, then in and, at once or after its answer, another good
// one, on one connection, and returns all that is answered.
func askAround(t *testing.T, w *env, in string, later bool) string {
	t.Helper()
	c := w.dial()
	defer c.Close()

	br := bufio.NewReader(c)

	io.WriteString(c, get)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)

	if !later {
		in += get
	}
	io.WriteString(c, in)
	start, err := br.Peek(1)
	if err != nil {
		t.Fatalf("no answer, after %q: %v", start, err)
	}

	if later {
		io.WriteString(c, get)
	}

	rest, _ := io.ReadAll(br)
	return string(rest)
}

func checkUpgrade(t *testing.T, b *backend, in, answer string, passes bool) {
	t.Helper()
	if n := strings.Count(answer, "HTTP/1.1 "); n != 1 {
		t.Errorf("%d answers: %q", n, answer)
	}

	want, code := get, "400"
	if passes {
		want, code = get+in, "200"
	}
	if status(answer) != code {
		t.Errorf("answered %q, want %s", answer, code)
	}
	if got := strings.Join(b.all(), "|"); got != want {
		t.Errorf("the next hop got %q, want %q", got, want)
	}
}
