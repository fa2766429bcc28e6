package wire

// isToken marks the characters of a token (RFC 9110, 5.6.2).
var isToken = charset(func(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}

	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}

	return false
})

// isValue marks the characters of a field value or reason phrase: visible ones,
// space, TAB and obs-text (RFC 9110, 5.5).
var isValue = charset(func(c byte) bool {
	return c == '\t' || c >= ' ' && c != 0x7f
})

// isTarget marks the characters that a request target may have: visible ones, and
// bytes from 0x80 on, which change no framing and are the destination's matter.
var isTarget = charset(func(c byte) bool {
	return c > ' ' && c != 0x7f
})

// isHost marks the characters of a host and port (RFC 3986, 3.2.2), and no
// delimiter that begins another part of a URL.
var isHost = charset(func(c byte) bool {
	switch c {
	case '/', '?', '#', '@', '\\', '"', '<', '>', '^', '`', '{', '|', '}', ',':
		return false
	}
	return c > ' ' && c < 0x7f
})

// isHex marks hexadecimal digits.
var isHex = charset(func(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
})

func charset(in func(byte) bool) (set [256]bool) {
	for i := range set {
		set[i] = in(byte(i))
	}
	return set
}

func all(b []byte, set *[256]bool) bool {
	for _, c := range b {
		if !set[c] {
			return false
		}
	}
	return true
}

func isText(b []byte) bool { return all(b, &isValue) }

// textError returns which error a control character is: a bare CR, or another.
func textError(b []byte) error {
	for _, c := range b {
		if c == '\r' {
			return errBareCR
		}
	}
	return errControl
}
