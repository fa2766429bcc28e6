package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/gateway"
	"fhirdest.example/gateway/wire"
)

// hostile are streams of one connection. pass is how many requests of it reach the
// destination; what follows them gets status, or nothing when it is empty.
var hostile = map[string]struct {
	in     string
	pass   int
	status string
}{
	// Case 288 and its like: a length that ends before the chunks do.
	"CL.TE":           {post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 0, "400"},
	"CL.TE, odd case": {post + "cONTENT-lENGTH: 6\r\ntRANSFER-eNCODING: chunked\r\n\r\n0\r\n\r\nG", 0, "400"},
	"CL.TE, quoted": {
		post + "Content-Length: 6\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nG",
		0,
		"400",
	},
	"CL.TE, name with a dash": {
		post + "Content-Length: 6\r\nTransfer--Encoding: chunked\r\n\r\n0\r\n\r\nG" + get,
		2,
		"",
	},
	"CL 0 and TE":               {post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, "400"},
	"TE by semicolon":           {post + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 0, "400"},
	"TE with obs-text":          {post + "Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n", 0, "400"},
	"TE with K":                 {post + "Transfer-Encoding: chun\xe2\x84\xaaed\r\n\r\n0\r\n\r\n", 0, "400"},
	"CL with obs-text":          {post + "Content-Length: 3\x85\r\n\r\nabc", 0, "400"},
	"CL in wide digits":         {post + "Content-Length: \xef\xbc\x93\r\n\r\nabc", 0, "400"},
	"CL 2^63":                   {post + "Content-Length: 9223372036854775808\r\n\r\nabc", 0, "400"},
	"CL with a fraction":        {post + "Content-Length: 3.0\r\n\r\nabc", 0, "400"},
	"CL with an exponent":       {post + "Content-Length: 1e1\r\n\r\nabc", 0, "400"},
	"CL name with a NUL":        {post + "Content-Length\x00: 3\r\n\r\nabc", 0, "400"},
	"CL name with a space":      {post + "Content-Length : 3\r\n\r\nabc", 0, "400"},
	"CL after a vertical tab":   {post + "\vContent-Length: 3\r\n\r\nabc", 0, "400"},
	"CL hidden by a bare CR":    {post + "X: y\rContent-Length: 30\r\n\r\n" + get, 0, "400"},
	"CL hidden by a bare LF":    {post + "X: y\nContent-Length: 30\r\n\r\n" + get, 0, "400"},
	"CR CR LF":                  {post + "X: y\r\r\n\r\n", 0, "400"},
	"LF CR":                     {post + "X: y\n\r\n\r\n", 0, "400"},
	"NUL in a value":            {post + "X: a\x00b\r\n\r\n", 0, "400"},
	"NUL in a name":             {post + "X\x00: b\r\n\r\n", 0, "400"},
	"ESC in a value":            {post + "X: a\x1bb\r\n\r\n", 0, "400"},
	"obs-text in a name":        {post + "X\xe9: b\r\n\r\n", 0, "400"},
	"colon first":               {post + ":method: GET\r\n\r\n", 0, "400"},
	"line of spaces":            {post + " \r\n\r\n", 0, "400"},
	"line of a TAB":             {post + "\t\r\n\r\n", 0, "400"},
	"spaces before the request": {" " + get, 0, "400"},
	"a line of spaces first":    {"  \r\n" + get, 0, "400"},
	"CRLF before the request":   {"\r\n" + get, 0, "400"},
	"LF before the request":     {"\n" + get, 0, "400"},
	"CRLF between two requests": {get + "\r\n" + get, 1, "400"},
	"two spaces in the line":    {"GET  /acme" + heads + "\r\n", 0, "400"},
	"space after the version":   {"GET /acme HTTP/1.1 \r\nHost: " + host + "\r\n\r\n", 0, "400"},
	"form feed for a space":     {"GET /acme\fHTTP/1.1\r\nHost: " + host + "\r\n\r\n", 0, "400"},
	"version 0.9":               {"GET /acme\r\n", 0, ""},
	"version 0.9 ended":         {"GET /acme\r\n\r\n", 0, "400"},
	"version 1.2":               {"GET /acme HTTP/1.2\r\nHost: " + host + "\r\n\r\n", 0, "505"},
	"version 1.10":              {"GET /acme HTTP/1.10\r\nHost: " + host + "\r\n\r\n", 0, "400"},
	"version 01.1":              {"GET /acme HTTP/01.1\r\nHost: " + host + "\r\n\r\n", 0, "400"},
	"version 2.0":               {"GET /acme HTTP/2.0\r\nHost: " + host + "\r\n\r\n", 0, "505"},
	"version 3":                 {"GET /acme HTTP/3\r\nHost: " + host + "\r\n\r\n", 0, "400"},
	"version in another case":   {"GET /acme hTTP/1.1\r\nHost: " + host + "\r\n\r\n", 0, "400"},
	"another protocol":          {"GET /acme RTSP/1.0\r\nHost: " + host + "\r\n\r\n", 0, "400"},
	"H2 preface":                {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 0, "505"},
	"TLS in TLS":                {"\x16\x03\x01\x00\x05\x01\n", 0, "400"},
	"lower-case method":         {"get /acme" + heads + "\r\n", 1, ""},
	"very long method":          {strings.Repeat("M", 20_000) + " /acme" + heads + "\r\n", 1, ""},
	"method in obs-text":        {"G\xc9T /acme" + heads + "\r\n", 0, "400"},
	"method with a colon":       {"GET: /acme" + heads + "\r\n", 0, "400"},

	// Targets.
	"dots":                     {"GET /acme/../../etc/passwd" + heads + "\r\n", 1, ""},
	"dots before the prefix":   {"GET /x/../acme" + heads + "\r\n", 0, "404"},
	"encoded slash in prefix":  {"GET /acme%2ffhir" + heads + "\r\n", 0, "404"},
	"encoded slash behind it":  {"GET /acme/a%2Fb%2e%2E" + heads + "\r\n", 1, ""},
	"parameter at the prefix":  {"GET /acme;v=1" + heads + "\r\n", 0, "404"},
	"fragment at the prefix":   {"GET /acme#/x" + heads + "\r\n", 0, "404"},
	"query at the prefix":      {"GET /acme?#" + heads + "\r\n", 1, ""},
	"backslash at the prefix":  {"GET /acme\\x" + heads + "\r\n", 0, "404"},
	"backslash behind it":      {"GET /acme/\\..\\x" + heads + "\r\n", 1, ""},
	"doubled slash":            {"GET //acme" + heads + "\r\n", 0, "404"},
	"doubled slash behind it":  {"GET /acme//x//" + heads + "\r\n", 1, ""},
	"raw UTF-8":                {"GET /acme/caf\xc3\xa9?\xff" + heads + "\r\n", 1, ""},
	"odd but legal characters": {"GET /acme/{}|^`\"<>[]" + heads + "\r\n", 1, ""},
	"DEL in the target":        {"GET /acme/\x7f" + heads + "\r\n", 0, "400"},
	"NUL in the target":        {"GET /acme/\x00" + heads + "\r\n", 0, "400"},
	"absolute, upper scheme":   {"GET HTTPS://fhir.example/acme" + heads + "\r\n", 1, ""},
	"absolute, port":           {"GET https://fhir.example:443/acme" + heads + "\r\n", 0, "421"},
	"absolute, port in both":   {"GET https://fhir.example:443/acme HTTP/1.1\r\nHost: fhir.example:443\r\n\r\n", 1, ""},
	"absolute, other Host":     {"GET https://fhir.example/acme HTTP/1.1\r\nHost: evil.example\r\n\r\n", 0, "421"},
	"absolute, empty Host":     {"GET https://fhir.example/acme HTTP/1.1\r\nHost:\r\n\r\n", 0, "421"},
	"absolute, ours in Host":   {"GET https://evil.example/acme" + heads + "\r\n", 0, "421"},
	"absolute, user info":      {"GET https://fhir.example@evil.example/acme" + heads + "\r\n", 0, "421"},
	"absolute, user and ours":  {"GET https://evil:x@fhir.example/acme" + heads + "\r\n", 0, "421"},
	"absolute, user in both": {
		"GET https://evil@fhir.example/acme HTTP/1.1\r\nHost: evil@fhir.example\r\n\r\n",
		0,
		"400",
	},
	"absolute, backslash":    {"GET https://fhir.example\\@evil/acme" + heads + "\r\n", 0, "421"},
	"absolute, encoded host": {"GET https://fhir%2eexample/acme" + heads + "\r\n", 0, "421"},
	"absolute, fragment":     {"GET https://fhir.example#/acme" + heads + "\r\n", 0, "404"},
	"absolute, no host":      {"GET https:///acme" + heads + "\r\n", 0, "421"},
	"absolute, one slash":    {"GET https:/fhir.example/acme" + heads + "\r\n", 0, "400"},
	"scheme-relative":        {"GET //fhir.example/acme" + heads + "\r\n", 0, "404"},
	"two stars":              {"OPTIONS **" + heads + "\r\n", 0, "400"},
	"star with a query":      {"OPTIONS *?x" + heads + "\r\n", 0, "400"},
	"OPTIONS *":              {"OPTIONS *" + heads + "\r\n", 1, ""},
	"OPTIONS * elsewhere":    {"OPTIONS * HTTP/1.1\r\nHost: other.example\r\n\r\n", 0, "421"},
	"authority form":         {"GET fhir.example:443" + heads + "\r\n", 0, "400"},

	// Hosts.
	"host with a dot":       {"GET /acme HTTP/1.1\r\nHost: fhir.example.\r\n\r\n", 0, "421"},
	"host with a colon":     {"GET /acme HTTP/1.1\r\nHost: fhir.example:\r\n\r\n", 0, "421"},
	"host with a long port": {"GET /acme HTTP/1.1\r\nHost: fhir.example:0443\r\n\r\n", 0, "421"},
	"host underscore":       {"GET /acme HTTP/1.1\r\nHost: fhir_example\r\n\r\n", 0, "421"},
	"host encoded":          {"GET /acme HTTP/1.1\r\nHost: fhir%2eexample\r\n\r\n", 0, "421"},
	"host IPv6":             {"GET /acme HTTP/1.1\r\nHost: [::1]\r\n\r\n", 0, "421"},
	"host IPv6, not closed": {"GET /acme HTTP/1.1\r\nHost: [::1\r\n\r\n", 0, "421"},
	"host twice, equal":     {"GET /acme" + heads + "Host: " + host + "\r\n\r\n", 0, "400"},
	"host twice, list":      {"GET /acme HTTP/1.1\r\nHost: " + host + ", " + host + "\r\n\r\n", 0, "400"},
	"host twice, other one": {"GET /acme HTTP/1.1\r\nHost: evil\r\nhOST: " + host + "\r\n\r\n", 0, "400"},
	"host folded":           {"GET /acme HTTP/1.1\r\nHost:\r\n " + host + "\r\n\r\n", 0, "400"},
	"host in obs-text":      {"GET /acme HTTP/1.1\r\nHost: fhir.ex\xc3\xa4mple\r\n\r\n", 0, "400"},
	"host after a TAB":      {"GET /acme HTTP/1.1\r\nHost:\t" + host + "\r\n\r\n", 0, "400"},
	"host last":             {"GET /acme HTTP/1.1\r\nX: y\r\nHost:  " + host + "  \r\n\r\n", 1, ""},
	"wild label":            {"GET /acme HTTP/1.1\r\nHost: a.wild.example\r\n\r\n", 1, ""},
	"wild, port in label":   {"GET /acme HTTP/1.1\r\nHost: evil:80.wild.example\r\n\r\n", 0, "421"},
	"wild, encoded":         {"GET /acme HTTP/1.1\r\nHost: evil%2f.wild.example\r\n\r\n", 0, "421"},
	"wild, bracket":         {"GET /acme HTTP/1.1\r\nHost: [::1].wild.example\r\n\r\n", 0, "421"},
	"wild, semicolon":       {"GET /acme HTTP/1.1\r\nHost: a;b.wild.example\r\n\r\n", 0, "421"},
	"wild, star":            {"GET /acme HTTP/1.1\r\nHost: a*.wild.example\r\n\r\n", 0, "421"},

	// Values and many of them.
	"obs-text in values": {post + "X: " + everyByte(0x80, 0x100) + "\r\nContent-Length: 0\r\n\r\n", 1, ""},
	"empty values":       {post + "X:\r\nY: \r\nZ:\t\r\nContent-Length: 0\r\n\r\n", 1, ""},
	"a thousand fields":  {post + strings.Repeat("x: y\r\n", 1000) + "\r\n", 1, ""},
	"one-byte names":     {post + "a:b\r\n!:#\r\n\r\n", 1, ""},
	"framing lookalikes": {post + "Content-Length2: 9\r\nTransfer-Encodings: chunked\r\n\r\n", 1, ""},

	// Chunks.
	"chunk of 2^60":           {post + chunked + "1000000000000000\r\nabc", 0, "400"},
	"chunk of 2^64":           {post + chunked + "10000000000000000\r\nabc", 0, "400"},
	"chunk, negative":         {post + chunked + "-1\r\nabc", 0, "400"},
	"chunk, underscore":       {post + chunked + "1_0\r\nabc", 0, "400"},
	"chunk, wide digit":       {post + chunked + "\xef\xbc\x91\r\na\r\n0\r\n\r\n", 0, "400"},
	"chunk, space first":      {post + chunked + " 1\r\na\r\n0\r\n\r\n", 0, "400"},
	"chunk, CR CR LF":         {post + chunked + "1\r\r\na\r\n0\r\n\r\n", 0, "400"},
	"chunk, NUL in extension": {post + chunked + "1;\x00\r\na\r\n0\r\n\r\n", 0, "400"},
	"chunk, LF in extension":  {post + chunked + "1;a=\"\n\"\r\na\r\n0\r\n\r\n", 0, "400"},
	"chunk, CR in extension":  {post + chunked + "1;a\rb\r\na\r\n0\r\n\r\n", 0, "400"},
	"chunk, quoted CRLF":      {post + chunked + "1;a=\"\r\na\"\r\n0\r\n\r\n", 0, "400"},
	"chunk, extension":        {post + chunked + "1;a=\"\\\"\";;=\r\na\r\n0;x\r\n\r\n", 1, ""},
	"chunk, zeros":            {post + chunked + "000000000000001\r\na\r\n000000\r\n\r\n", 1, ""},
	"chunk, two ends":         {post + chunked + "0\r\n\r\n0\r\n\r\n", 1, "400"},
	"chunk, LF at the end":    {post + chunked + "1\r\na\r\n0\r\n\n", 0, "400"},
	"chunk, no CRLF":          {post + chunked + "1\r\nab0\r\n\r\n", 0, "400"},
	"trailer, any":            {post + chunked + "0\r\nAuthorization: Bearer x\r\nCookie: a\r\n\r\n", 1, ""},
	"trailer, length":         {post + chunked + "0\r\ncontent-LENGTH: 3\r\n\r\n", 0, "400"},
	"trailer, host":           {post + chunked + "0\r\nhost: evil\r\n\r\n", 0, "400"},
	"trailer, NUL":            {post + chunked + "0\r\nA: \x00\r\n\r\n", 0, "400"},
	"trailer, bare CR":        {post + chunked + "0\r\nA: b\rc\r\n\r\n", 0, "400"},

	// What follows a message.
	"garbage after a body":    {post + "Content-Length: 3\r\n\r\nabcGARBAGE\r\n\r\n", 1, "400"},
	"garbage after no body":   {get + "\x00\x00\x00\r\n\r\n", 1, "400"},
	"after an error":          {"GET /none" + heads + "\r\n" + get, 0, "404"},
	"after a framing error":   {get + "bad\r\n\r\n" + get, 1, "400"},
	"after Connection: close": {"GET /acme" + heads + "Connection: close\r\n\r\n" + get, 1, ""},
	"after close in a list":   {"GET /acme" + heads + "Connection: x,, CLOSE ,y\r\n\r\n" + get, 1, ""},
	"after close in two fields": {
		"GET /acme" + heads + "Connection: keep-alive\r\nConnection: close\r\n\r\n" + get,
		1,
		"",
	},
	"a HEAD with a body":     {"HEAD /acme" + heads + "Content-Length: 3\r\n\r\nGET" + get, 2, ""},
	"a GET in chunks":        {"GET /acme" + heads + chunked + "3\r\nGET\r\n0\r\n\r\n" + get, 2, ""},
	"an OPTIONS with a body": {"OPTIONS *" + heads + "Content-Length: 3\r\n\r\nGET" + get, 2, ""},
	"a TRACE with a body":    {"TRACE /acme" + heads + "Content-Length: 3\r\n\r\nGET" + get, 2, ""},
	"odd Expect":             {"GET /acme" + heads + "Expect: 200-ok\r\n\r\n", 1, ""},
	"Upgrade to anything": {
		"GET /acme" + heads + "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n" + get,
		1,
		"",
	},
	"Upgrade to TLS": {"OPTIONS *" + heads + "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n" + get, 1, ""},
}

const (
	get     = "GET /acme" + heads + "\r\n"
	chunked = "Transfer-Encoding: chunked\r\n\r\n"
)

func everyByte(from, to int) string {
	var b strings.Builder
	for c := from; c < to; c++ {
		b.WriteByte(byte(c))
	}
	return b.String()
}

// twoHops is an inbound gateway, a delegate and a backend.
func twoHops(t testing.TB, b *backend, change func(*gateway.Config)) (inbound, delegate *env) {
	wild := func(c *gateway.Config) {
		c.Routes[0].Hosts = append(c.Routes[0].Hosts, "*.wild.example")
		if change != nil {
			change(c)
		}
	}
	delegate = newEnv(t, b, wild)
	inbound = newEnv(t, &backend{addr: delegate.addr, pki: delegate.pki}, func(c *gateway.Config) {
		delegateNext(c)
		wild(c)
	})
	return inbound, delegate
}

func (b *backend) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = nil
}

// idle waits until no client has a connection, so that every line is written.
func (w *env) idle() {
	w.t.Helper()
	eventually(w.t, "no connections", func() bool {
		var b bytes.Buffer
		w.gw.WriteMetrics(&b)
		return strings.Contains(b.String(), "\ngateway_connections 0\n")
	})
}

func (s *sink) requests() (list []wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.lines {
		if !m.Response {
			list = append(list, m)
		}
	}
	return list
}

// Through two gateways: what passes arrives as it was sent, both hops have its
// digest, and net/http reads as many requests there; what does not pass leaves no
// byte beyond the first gateway that a reader could read as a request.
//
// Covers: ER-07, ER-17, ER-19, case 289, 290, 292, 293, 296, 300, 304, 320
func TestHostileRequests(t *testing.T) {
	b := newBackend(t, ok)
	inbound, delegate := twoHops(t, b, nil)
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			inbound.t, delegate.t = t, t
			b.clear()
			inbound.evidence.clear()
			delegate.evidence.clear()
			answer := inbound.ask(c.in)
			inbound.idle()
			delegate.idle()

			for _, w := range []*env{inbound, delegate} {
				if calls, lines := w.evidence.owed(); calls != lines {
					t.Errorf("%d messages went out, and %d have their line", calls, lines)
				}
			}

			checkAnswers(t, name, answer, c.pass, c.status)
			got := strings.Join(b.all(), "")
			if !strings.HasPrefix(c.in, got) {
				t.Errorf("the destination got %q of %q", got, c.in)
				return
			}

			if n := wholeRequests(t, got); n != c.pass {
				t.Errorf("net/http reads %d requests of %q, want %d", n, got, c.pass)
			}
			checkDigests(t, name, c.in, c.pass, inbound.evidence, delegate.evidence)
		})
	}
}

// checkAnswers wants pass answers of the backend and then one of the gateway with
// the status, if any.
func checkAnswers(t *testing.T, name, answer string, pass int, status string) {
	t.Helper()
	own := strings.Count(answer, `{"resourceType":"OperationOutcome"`)
	if n := strings.Count(answer, "HTTP/1.1 200 OK\r\n"); n != pass {
		t.Errorf("%s: %d answers of the destination, want %d, in %.300q", name, n, pass, answer)
	}
	if status == "" && own != 0 || status != "" && (own != 1 || !strings.Contains(answer, "HTTP/1.1 "+status+" ")) {
		t.Errorf("%s: want %q after %d answers, got %.300q", name, status, pass, answer)
	}
}

// wholeRequests counts the requests that net/http finds whole.
func wholeRequests(t *testing.T, b string) int {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(b))
	for n := 0; ; n++ {
		req, err := http.ReadRequest(br)
		if err != nil {
			return n
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return n
		}
	}
}

// checkDigests wants the first requests of in to have the same lines at both hops.
func checkDigests(t *testing.T, name, in string, pass int, hops ...*sink) {
	t.Helper()
	for _, s := range hops {
		eventually(t, name+": evidence", func() bool { return len(s.requests()) >= pass })
		at := int64(0)
		for i, m := range s.requests()[:pass] {
			if m.In != m.Out {
				t.Errorf("%s: request %d went out other than it came: %+v", name, i, m)
			}
			if m.In.Bytes > int64(len(in))-at || sha256.Sum256([]byte(in[at:at+m.In.Bytes])) != m.In.Sum {
				t.Errorf("%s: request %d has the digest of other bytes", name, i)
			}
			at += m.In.Bytes
		}
	}
}
