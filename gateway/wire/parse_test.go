package wire

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// frame feeds a whole stream of requests and returns the length of the first
// message, or the fault.
func frame(t testing.TB, b []byte) (n int, err error) {
	t.Helper()
	var h Head
	end, err := h.End(b, MaxHead)
	if err != nil || end == 0 {
		return 0, err
	}

	var r Request
	if err := ParseRequest(b[:end], &r); err != nil {
		return 0, err
	}

	body := NewBody(r.Framing, r.Length)
	k, done, err := body.Feed(b[end:])
	if err != nil || !done {
		return 0, err
	}

	return end + k, nil
}

const get = "GET /acme/fhir/metadata HTTP/1.1\r\nHost: a.example\r\n"

// Covers: case 289, 290, 291, 292, 296
func TestRefusedRequests(t *testing.T) {
	post := "POST /x HTTP/1.1\r\nHost: a\r\n"
	chunked := post + "Transfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"both":               {post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", errBoth},
		"both, other order":  {post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", errBoth},
		"xchunked":           {post + "Transfer-Encoding: xchunked\r\n\r\n", errCoding},
		"chunked twice":      {post + "Transfer-Encoding: chunked, chunked\r\n\r\n", errCoding},
		"chunked, identity":  {post + "Transfer-Encoding: chunked, identity\r\n\r\n", errCoding},
		"gzip, chunked":      {post + "Transfer-Encoding: gzip, chunked\r\n\r\n", errCoding},
		"two codings":        {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", errCoding},
		"TAB coding":         {post + "Transfer-Encoding:\tchunked\r\n\r\n", errCoding},
		"vertical tab":       {post + "Transfer-Encoding:\vchunked\r\n\r\n", errControl},
		"trailing comma":     {post + "Transfer-Encoding: chunked,\r\n\r\n", errCoding},
		"space before colon": {post + "Transfer-Encoding : chunked\r\n\r\n", errName},
		"folded coding":      {post + "Transfer-Encoding:\r\n chunked\r\n\r\n", errFold},
		"upper case value":   {post + "Transfer-Encoding: CHUNKED\r\n\r\n", errCoding},
		"underscore coding":  {post + "Transfer_Encoding: chunked\r\n\r\n", errLookalike},
		"underscore length":  {post + "Content_Length: 3\r\n\r\n", errLookalike},
		"empty coding":       {post + "Transfer-Encoding: \r\n\r\n", errCoding},
		"coding in 1.0": {
			"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
			errOldCoding,
		},
		"1.0":                  {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", nil},
		"plus":                 {post + "Content-Length: +3\r\n\r\nabc", errLength},
		"minus":                {post + "Content-Length: -1\r\n\r\n", errLength},
		"hex":                  {post + "Content-Length: 0x3\r\n\r\nabc", errLength},
		"underscore digits":    {post + "Content-Length: 3_0\r\n\r\n", errLength},
		"list":                 {post + "Content-Length: 3, 3\r\n\r\nabc", errLength},
		"empty length":         {post + "Content-Length:\r\n\r\n", errLength},
		"2^64+3":               {post + "Content-Length: 18446744073709551619\r\n\r\nabc", errLength},
		"TAB length":           {post + "Content-Length:\t3\r\n\r\nabc", errLength},
		"equal lengths":        {post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", errLengths},
		"different lengths":    {post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", errLengths},
		"bare LF":              {"GET / HTTP/1.1\nHost: a\n\n", errBareLF},
		"bare LF in fields":    {"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", errBareLF},
		"bare CR":              {post + "X: a\rb\r\n\r\n", errBareCR},
		"bare CR in name":      {post + "X\rY: b\r\n\r\n", errBareCR},
		"NUL":                  {post + "X: a\x00b\r\n\r\n", errControl},
		"DEL":                  {post + "X: a\x7fb\r\n\r\n", errControl},
		"folded":               {post + "X: a\r\n b\r\n\r\n", errFold},
		"space before 1st":     {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", errFold},
		"no colon":             {post + "Xyz\r\n\r\n", errNoColon},
		"empty name":           {post + ": x\r\n\r\n", errName},
		"space in name":        {post + "X y: x\r\n\r\n", errName},
		"two hosts":            {get + "Host: a.example\r\n\r\n", errHosts},
		"no host":              {"GET / HTTP/1.1\r\nX: y\r\n\r\n", errHosts},
		"bad host":             {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", errHost},
		"two words in host":    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", errHost},
		"empty line first":     {"\r\n" + get + "\r\n", errNullLine},
		"HTTP/0.9":             {"GET /\r\n\r\n", errStartLine},
		"space in target":      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
		"control in target":    {"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
		"TAB in request line":  {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", errStartLine},
		"method":               {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
		"version":              {"GET / http/1.1\r\nHost: a\r\n\r\n", errVersion},
		"version 2.0":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", errOldVersion},
		"chunk size sign":      {chunked + "+1\r\na\r\n0\r\n\r\n", errChunkSize},
		"chunk size 0x":        {chunked + "0x1\r\na\r\n0\r\n\r\n", errChunkSize},
		"chunk size empty":     {chunked + "\r\n", errChunkSize},
		"chunk size long":      {chunked + "0000000000000001\r\na\r\n", errChunkSize},
		"chunk size LF":        {chunked + "1\na\r\n0\r\n\r\n", errChunkSize},
		"chunk size spaces":    {chunked + "1 \r\na\r\n0\r\n\r\n", errChunkSize},
		"chunk size space ;":   {chunked + "1 ;x\r\na\r\n0\r\n\r\n", errChunkSize},
		"chunk size TAB ;":     {chunked + "1\t;x=y\r\na\r\n0\r\n\r\n", errChunkSize},
		"last size space ;":    {chunked + "1\r\na\r\n0 ;x\r\n\r\n", errChunkSize},
		"chunk size bare CR":   {chunked + "1\ra\r\n", errBareCR},
		"chunk ext bare LF":    {chunked + "1;x\na\r\n", errChunkExt},
		"chunk ext long":       {chunked + "1;" + strings.Repeat("x", 5000) + "\r\na\r\n", errChunkExt},
		"chunk data long":      {chunked + "1\r\nab\r\n0\r\n\r\n", errChunkEnd},
		"chunk data LF":        {chunked + "1\r\na\n0\r\n\r\n", errChunkEnd},
		"trailer length":       {chunked + "0\r\nContent-Length: 3\r\n\r\n", errTrailer},
		"trailer coding":       {chunked + "0\r\ntransfer-encoding: chunked\r\n\r\n", errTrailer},
		"trailer host":         {chunked + "0\r\nHost: b\r\n\r\n", errTrailer},
		"trailer name":         {chunked + "0\r\na b: x\r\n\r\n", errTrailer},
		"trailer no colon":     {chunked + "0\r\nabc\r\n\r\n", errTrailer},
		"trailer folded":       {chunked + "0\r\nA: b\r\n c\r\n\r\n", errTrailer},
		"trailer LF":           {chunked + "0\r\nA: b\n\r\n", errTrailer},
		"trailer section long": {chunked + "0\r\nA: " + strings.Repeat("x", MaxHead) + "\r\n\r\n", errTrailerLong},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := frame(t, []byte(c.in))
			var fault *Error
			if n != 0 || !errors.As(err, &fault) {
				t.Errorf("%s: framed as %d bytes, %v", name, n, err)
				return
			}
			if c.want != nil && err != c.want {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		})
	}
}

// Covers: case 292, 293, 304, 313
func TestAcceptedRequests(t *testing.T) {
	post := "POST /x HTTP/1.1\r\nHost: a\r\n"
	for name, in := range map[string]string{
		"plain":             get + "\r\n",
		"003":               post + "Content-Length: 003\r\n\r\nabc",
		"trailing space":    post + "Content-Length: 3 \r\n\r\nabc",
		"length 0":          post + "Content-Length: 0\r\n\r\n",
		"GET with a body":   get + "Content-Length: 3\r\n\r\nabc",
		"chunked GET":       get + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"extensions":        post + "tRANSFER-eNCODING: chunked\r\n\r\n3;a=b;c=\"d e\"\r\nabc\r\n2; x \r\nde\r\n000;last\r\n\r\n",
		"trailers":          post + "Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX: y\r\nDigest:\t\xe9\r\n\r\n",
		"odd target":        "GET /a%2Fb/%2e%2e//;v=1?x=%00#f HTTP/1.1\r\nHost: a\r\n\r\n",
		"absolute form":     "GET https://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"OPTIONS *":         "OPTIONS * HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n",
		"odd method":        "m-SEARCH!~ / HTTP/1.1\r\nHOST:a\r\n\r\n",
		"empty value":       get + "X:\r\nY: \r\nx: a \t \r\n\r\n",
		"obs-text":          get + "X: \xff\xfe\r\n\r\n",
		"duplicates":        get + "X: 1\r\nX: 2\r\nx: 1\r\n\r\n",
		"head of 64 KiB":    get + "X: " + strings.Repeat("x", MaxHead-len(get)-7) + "\r\n\r\n",
		"empty host at all": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			// One byte at a time and in one piece: the same end.
			whole, err := frame(t, []byte(in+"GET / HTTP/1.1\r\n"))
			if err != nil || whole != len(in) {
				t.Errorf("%s: framed as %d of %d bytes, %v", name, whole, len(in), err)
			}
			if n := frameSlowly(t, []byte(in)); n != len(in) {
				t.Errorf("%s: byte by byte it ends at %d, not %d", name, n, len(in))
			}
		})
	}
}

// frameSlowly returns where the first request ends when bytes come one at a time.
func frameSlowly(t testing.TB, b []byte) int {
	t.Helper()
	var h Head
	end := 0
	for i := 1; end == 0 && i <= len(b); i++ {
		var err error
		if end, err = h.End(b[:i], MaxHead); err != nil {
			t.Fatal(err)
		}
	}

	var r Request
	if err := ParseRequest(b[:end], &r); err != nil {
		t.Fatal(err)
	}
	body := NewBody(r.Framing, r.Length)
	_, done, _ := body.Feed(nil)
	for i := end; ; i++ {
		if done || i == len(b) {
			return i
		}

		_, d, err := body.Feed(b[i : i+1])
		if err != nil {
			t.Fatal(err)
		}
		done = d
	}
}

// Covers: case 313
func TestHeadTooLong(t *testing.T) {
	in := []byte(get + "X: " + strings.Repeat("x", MaxHead))
	if _, err := frame(t, in); err != errHeadLong {
		t.Fatalf("an endless head gives %v", err)
	}
}

// Covers: case 308
func TestResponses(t *testing.T) {
	for name, c := range map[string]struct {
		in, method string
		framing    Framing
		length     int64
		close      bool
		err        error
	}{
		"length":       {in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", framing: Fixed, length: 5},
		"no reason":    {in: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"},
		"empty reason": {in: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"},
		"chunked":      {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", framing: Chunked},
		"until close":  {in: "HTTP/1.1 200 OK\r\n\r\n", framing: UntilClose, close: true},
		"1.0":          {in: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", framing: Fixed, length: 5, close: true},
		"close": {
			in:      "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\n",
			framing: Fixed,
			length:  5,
			close:   true,
		},
		"HEAD":         {in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", method: "HEAD"},
		"HEAD chunked": {in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", method: "HEAD"},
		"204":          {in: "HTTP/1.1 204 No Content\r\n\r\n"},
		"204 length 0": {in: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"},
		"204 length":   {in: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", err: errNoBody},
		"204 chunked":  {in: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", err: errNoBody},
		"304":          {in: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"},
		"100":          {in: "HTTP/1.1 100 Continue\r\n\r\n"},
		"103 length":   {in: "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", err: errNoBody},
		"both": {
			in:  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
			err: errBoth,
		},
		"lengths":       {in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", err: errLengths},
		"bare CR":       {in: "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", err: errBareCR},
		"CR in reason":  {in: "HTTP/1.1 200 O\rK\r\n\r\n", err: errBareCR},
		"status":        {in: "HTTP/1.1 2000 OK\r\n\r\n", err: errStartLine},
		"status 600":    {in: "HTTP/1.1 600 OK\r\n\r\n", err: errStatus},
		"not HTTP":      {in: "ICY 200 OK\r\n\r\n", err: errVersion},
		"coding in 1.0": {in: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", err: errOldCoding},
	} {
		t.Run(name, func(t *testing.T) {
			var r Response
			err := ParseResponse([]byte(c.in), c.method, &r)
			if err != c.err {
				t.Errorf("%s: %v, want %v", name, err, c.err)
			}
			if err == nil && (r.Framing != c.framing || r.Length != c.length || r.Close != c.close) {
				t.Errorf("%s: %+v", name, r)
			}
		})
	}
}

// FuzzFraming: what we frame, net/http's own reader frames in the same way; and bytes
// that come one by one end where they end in one piece.
//
// Covers: case 289, 290, 292
func FuzzFraming(f *testing.F) {
	for _, s := range []string{get + "\r\n", get + "Content-Length: 3\r\n\r\nabcGET",
		get + "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\nGET /",
		get + "Transfer-Encoding: chunked\r\n\r\n1 ;x\r\na\r\n0\r\n\r\n", get +
			"Transfer-Encoding: chunked\r\n\r\n1\t;x\r\na\r\n0 ;y\r\n\r\n",
		get + "Transfer-Encoding: chunked\r\n\r\n1; x \r\na\r\n0;\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"} {
		f.Add([]byte(s))
	}

	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := frame(t, in)
		if err != nil || n == 0 {
			return
		}

		if slow := frameSlowly(t, in); slow != n {
			t.Fatalf("ends at %d, byte by byte at %d", n, slow)
		}
		sameAsNetHTTP(t, in, n)
	})
}

// sameAsNetHTTP checks that net/http, where it accepts the request at all, ends it
// after n bytes too.
func sameAsNetHTTP(t *testing.T, in []byte, n int) {
	t.Helper()
	src := strings.NewReader(string(in))
	br := bufio.NewReaderSize(src, len(in)+16)
	req, err := http.ReadRequest(br)
	if err != nil {
		return // refused by it: safe
	}

	var sink [512]byte
	for {
		if _, err = req.Body.Read(sink[:]); err != nil {
			break
		}
	}

	if err.Error() != "EOF" {
		return
	}
	if left := br.Buffered() + src.Len(); len(in)-left != n {
		t.Fatalf("net/http ends it after %d bytes, we after %d", len(in)-left, n)
	}
}
