package wire

import "bytes"

// Request is what a request's head has on where it goes and where it ends. The
// slices are views of the head that was parsed.
type Request struct {
	Method, Target, Host []byte
	// HostAt is where Host begins in the head.
	HostAt  int
	Framing Framing
	// Length is the length of the body in bytes when Framing is Fixed.
	Length int64
	// Close: the sender will not send another request (Connection: close).
	Close bool
	// Continue: the sender waits for 100 (Continue) before the body.
	Continue bool
	// Upgrade: an Upgrade field is there, whatever its value, so that a receiver may read
	// what follows as another protocol (RFC 9110, 7.8). Receivers differ on whether the
	// Connection field must name it too.
	Upgrade bool
	// Unread is why net/http would refuse the request by itself, in words that are
	// not its server's; nil when it would not. See guard.
	Unread error
}

// TargetAt is where Target begins in the head.
func (r *Request) TargetAt() int {
	return len(r.Method) + 1
}

// Authority returns where the authority of an absolute-form target is in Target;
// ok is false for targets of other forms.
func (r *Request) Authority() (from, to int, ok bool) {
	if r.Target[0] == '/' {
		return 0, 0, false
	}

	from = bytes.Index(r.Target, []byte("://")) + 3
	if from < 3 {
		return 0, 0, false
	}

	to = len(r.Target)
	if n := bytes.IndexAny(r.Target[from:], "/?#"); n >= 0 {
		to = from + n
	}
	return from, to, true
}

// MethodName is Method as a string, without allocating for the usual ones.
func (r *Request) MethodName() string {
	for _, m := range [...]string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"} {
		if string(r.Method) == m {
			return m
		}
	}
	return string(r.Method)
}

// ParseRequest reads a complete head (see Head.End), refusing what RFC 9112 does
// not let every reader frame in the same way. HTTP/1.0 gets 505: its client cannot
// distinguish a cut answer from a whole one.
func ParseRequest(head []byte, r *Request) error {
	end := line(head, 0)
	old, err := r.startLine(head[:end])
	if err != nil {
		return err
	}

	var f fields
	if err := f.parse(head, end+2); err != nil {
		return err
	}
	if old && f.codings > 0 {
		return errOldCoding
	}
	if old {
		return errOldVersion
	}

	return r.accept(head, &f)
}

// accept keeps what the fields have.
func (r *Request) accept(head []byte, f *fields) (err error) {
	if f.hosts != 1 {
		return errHosts
	}

	r.Host, r.HostAt = f.host.in(head), f.host.from
	if !all(r.Host, &isHost) {
		return errHost
	}

	// Of two hosts, one reader uses the target's (RFC 9112, 3.2.2), another the field's.
	if from, to, ok := r.Authority(); ok && !bytes.EqualFold(r.Target[from:to], r.Host) {
		return errTwoHosts
	}

	r.Close = f.close
	r.Continue = f.expect
	r.Upgrade = f.upgrade
	r.Unread = f.unread
	r.Framing, r.Length, err = f.body(f.chunked)
	return err
}

// startLine reads method, target and version; old means HTTP/1.0.
func (r *Request) startLine(l []byte) (old bool, err error) {
	a := bytes.IndexByte(l, ' ')
	z := bytes.LastIndexByte(l, ' ')
	if a <= 0 || z <= a+1 {
		return false, errStartLine
	}

	r.Method, r.Target = l[:a], l[a+1:z]
	if !all(r.Method, &isToken) {
		return false, errMethod
	}
	if !all(r.Target, &isTarget) {
		return false, errTarget
	}

	return version(l[z+1:])
}

// version accepts HTTP/1.1; old is set for 1.0; other versions of HTTP get 505.
func version(v []byte) (old bool, err error) {
	if string(v) == "HTTP/1.1" {
		return false, nil
	}
	if string(v) == "HTTP/1.0" {
		return true, nil
	}
	if len(v) == 8 && string(v[:5]) == "HTTP/" && isDigit(v[5]) && v[6] == '.' && isDigit(v[7]) {
		return false, errOldVersion
	}

	return false, errVersion
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
