package wire

// Error is why a message cannot be framed without doubt.
type Error struct {
	// Status answers a request that has this fault: 400, 417, 421, 431 or 505.
	Status int
	// Reason is a fixed phrase; it never quotes the message.
	Reason string
}

func (e *Error) Error() string {
	return "wire: " + e.Reason
}

func bad(reason string) *Error {
	return &Error{
		Status: 400,
		Reason: reason,
	}
}

var (
	errBareLF     = bad("a line ends in a bare LF")
	errBareCR     = bad("a CR is without its LF")
	errControl    = bad("a control character is in a field")
	errFold       = bad("a header line is folded or begins with a space")
	errName       = bad("a field name is not a token")
	errNoColon    = bad("a header line has no colon")
	errNullLine   = bad("the message begins with an empty line")
	errStartLine  = bad("the start line does not have three parts")
	errMethod     = bad("the method is not a token")
	errTarget     = bad("the request target has a character that none may have")
	errTargetForm = bad("the request target is no URL")
	errVersion    = bad("the protocol version is not one of HTTP")
	errOldVersion = &Error{
		Status: 505,
		Reason: "this version of HTTP is not spoken here",
	}
	errExpect = &Error{
		Status: 417,
		Reason: "no expectation but 100-continue is met here",
	}
	errStatus   = bad("the status code is not three digits from 100 to 599")
	errHosts    = bad("there is not exactly one Host")
	errTwoHosts = &Error{
		Status: 421,
		Reason: "the request target names another host than the Host field",
	}
	errHost        = bad("the Host has a character that none may have")
	errLength      = bad("the Content-Length is not one plain number")
	errLengths     = bad("there is more than one Content-Length")
	errCoding      = bad("the Transfer-Encoding is not exactly one chunked")
	errBoth        = bad("both Content-Length and Transfer-Encoding are there")
	errOldCoding   = bad("an HTTP/1.0 message has a Transfer-Encoding")
	errLookalike   = bad("a field name resembles a framing field")
	errNoBody      = bad("a message that has no body announces one")
	errChunkSize   = bad("a chunk size is not a plain hexadecimal number")
	errChunkEnd    = bad("chunk data is not followed by CRLF")
	errChunkExt    = bad("a chunk extension is malformed or too long")
	errTrailer     = bad("a trailer field is malformed or frames the message")
	errTrailerLong = &Error{
		Status: 431,
		Reason: "the trailer section is too long",
	}
	errHeadLong = &Error{
		Status: 431,
		Reason: "the head is too long",
	}
)
