package board_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"fhirdest.example/certs"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/udaptest"
)

// text returns what a person reads on a page, with single spaces.
func text(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}

	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
	}

	return strings.Join(strings.Fields(b.String()), " ")
}

// shows fails unless a page of an exchange with a body has some texts and not others.
func (e *env) shows(t *testing.T, kind, body string, want []string, not ...string) {
	t.Helper()
	x := e.exchange(conform.Token, 400, "/oauth/token")
	x.Request.Head = []byte("POST /oauth/token HTTP/1.1\r\nContent-Type: " + kind + "\r\n\r\n")
	x.Request.Body, x.Request.Length = []byte(body), int64(len(body))
	e.add(x, assessment("c1", "red"))

	page := text(t, e.get(e.page(fmt.Sprint("x/", x.N))))
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("no %q on %s", text, page)
		}
	}

	for _, text := range not {
		if strings.Contains(page, text) {
			t.Errorf("%q is on %s", text, page)
		}
	}
}

// The JWTs of a request are decoded, with a path to the anchor where there is one.
func TestTokensOfARequest(t *testing.T) {
	e := newEnv(t)
	w := e.world
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	stranger := w.Client(t, w.X.Int, udaptest.Client1URI, nil)
	old := w.Client(t, w.A.Int, udaptest.Client1URI, func(tpl *certs.Template) {
		tpl.NotBefore, tpl.NotAfter = w.Now.Add(-48*time.Hour), w.Now.Add(-24*time.Hour)
	})
	claims := udaptest.Assertion("client-7", udaptest.Now)

	form := func(jwt string) string {
		return url.Values{"client_assertion": {jwt}, "grant_type": {"client_credentials"}}.Encode()
	}
	const kind = "application/x-www-form-urlencoded"

	t.Run("good", func(t *testing.T) {
		e.shows(t, kind, form(c.Sign(t, claims)), []string{
			"client_assertion Header", "client-7", "verified made by the key of x5c[0]",
			"up to the anchor of Community A", "x5c[0], the signer", "x5c[1]", "anchor of Community A",
			"signed by", "valid at receipt", udaptest.Client1URI, "P-256", "Revocation list",
			"s after its receipt", "grant_type client_credentials",
		}, "not signed by", "expired at receipt")
	})

	t.Run("a stranger", func(t *testing.T) {
		e.shows(t, kind, form(stranger.Sign(t, claims)), []string{
			"verified made by the key of x5c[0]", "which lead to no anchor of this session",
		}, "anchor of Community A")
	})

	t.Run("without the issuing authority", func(t *testing.T) {
		e.shows(t, kind, form(c.SignChain(t, claims, c.Leaf())), []string{
			"which lead to no anchor of this session", "Issuer " + w.A.Int.Cert.Subject.CommonName,
		})
	})

	t.Run("reversed", func(t *testing.T) {
		e.shows(t, kind, form(c.SignChain(t, claims, w.A.Int.Cert, c.Leaf())), []string{
			"not verified here", "x5c[1]", "not signed by",
		})
	})

	t.Run("expired", func(t *testing.T) {
		e.shows(t, kind, form(old.Sign(t, claims)), []string{"expired at receipt"})
	})
	t.Run("malformed", func(t *testing.T) {
		parts := strings.Split(c.Sign(t, claims), ".")
		e.shows(t, kind, form(parts[0]+"."+parts[1]+"=."+parts[2]), []string{"as it is", `"client-7"`},
			"x5c[0], the signer")
	})

	t.Run("JSON", func(t *testing.T) {
		body := `{"software_statement":"` + c.Sign(t, c.Statement(udaptest.Now)) + `","certifications":["` +
			c.Sign(t, claims) + `"],"udap":"1"}`
		e.shows(t, "application/json", body, []string{"software_statement Header", "certifications[0] Header"})
	})

	t.Run("binary", func(t *testing.T) {
		e.shows(t, "application/octet-stream", "\xff\xfe\x00", []string{"3 bytes that are no text"})
	})
}

// line is a line of evidence of one message that a hop got and sent.
func line(hop, dir string, in, out []byte) string {
	return fmt.Sprintf(`{"time":"2026-11-22T12:00:00Z","hop":%q,"route":"r","conn":"c","seq":1,"dir":%q,"method":"GET",`+
		`"status":0,"bytesIn":%d,"bytesOut":%d,"sha256In":%q,"sha256Out":%q}`+"\n",
		hop, dir, len(in), len(out), digestOf(in), digestOf(out))
}

// The same message is found in the evidence of the other hops; one that was changed
// between is not.
func TestTheSameMessageAtEachHop(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "gateway.jsonl"), filepath.Join(dir, "delegate.jsonl")}
	e := newEnv(t, files...)
	request, answer := []byte("GET / HTTP/1.1\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n")
	other := bytes.ToLower(answer)
	filler := strings.Repeat(line("gateway", "request", other, other), 20_000) // more than is searched

	visit := func(first, second string) string {
		for i, text := range []string{first, second} {
			if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}

		x := e.exchange(conform.Read, 200, "/fhir/Patient")
		for _, m := range []struct {
			to   *conform.Message
			text []byte
		}{{&x.Request, request}, {&x.Answer, answer}} {
			m.to.SHA256 = digestOf(m.text)
		}

		e.add(x, assessment("c1", "green"))
		return text(t, e.get(e.page(fmt.Sprint("x/", x.N))))
	}

	both := func(hop string) string {
		return line(hop, "request", request, request) + line(hop, "response", answer, answer)
	}
	changing := line("delegate", "request", request, request) + line("delegate", "response", answer, other)

	for _, row := range []struct {
		name, first, second, want string
	}{
		{"both", both("gateway"), both("delegate"), "nothing between took part: every hop passed exactly these bytes"},
		{"at the end of a long file", filler + both("gateway"), both("delegate"), "nothing between took part"},
		{"straight", "", "", "no other hop has seen these bytes"},
		{"one is late", both("gateway"), "", "some hops have not seen these bytes"},
		{"one changed the answer", both("gateway"), changing, "a hop sent other bytes than it got"},
		{"a line that is not whole", both("gateway"), both("delegate")[:200], "some hops have not seen these bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			page := visit(row.first, row.second)
			if !strings.Contains(page, row.want) {
				t.Errorf("no %q on %s", row.want, page)
			}
			if row.name != "both" && row.name != "at the end of a long file" &&
				strings.Contains(page, "nothing between took part") {
				t.Errorf("the page vouches for what it has not seen: %s", page)
			}
		})
	}
}

// An open board shows that the other hops have passed a request, once their evidence
// has it, and that one of them changed an answer.
func TestHopsAreSeenWhileItHappens(t *testing.T) {
	files := []string{filepath.Join(t.TempDir(), "gateway.jsonl"), filepath.Join(t.TempDir(), "delegate.jsonl")}
	e := newEnv(t, files...)
	request, answer := []byte("GET / HTTP/1.1\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n")
	write := func(file, lines string) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(lines); err != nil {
			t.Fatal(err)
		}
	}

	b := e.chromium()
	b.Open(e.page(""))
	b.Eventually(`document.getElementById("live").textContent === "Live"`)
	x := e.exchange(conform.Read, 200, "/fhir/Patient")
	x.Request.SHA256, x.Answer.SHA256 = digestOf(request), digestOf(answer)
	e.add(x, assessment("c1", "green"))
	b.Eventually(`document.getElementById("latest").innerText.includes("Read 200")`)

	for _, file := range files {
		write(file, line("hop", "request", request, request)+line("hop", "response", answer, answer)[:30])
	}
	write(files[0], line("hop", "response", answer, answer)[30:])
	b.Eventually(`document.getElementById("latest").innerText.includes("1 hop passed it unchanged")`)
	write(files[1], line("hop", "response", answer, answer)[30:])
	b.Eventually(`document.getElementById("latest").innerText.includes("2 hops passed it unchanged")`)
	write(files[1], line("hop", "response", answer, bytes.ToLower(answer)))
	b.Eventually(`document.getElementById("latest").innerText.includes("changed by a hop")`)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
