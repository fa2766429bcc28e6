package answer

import (
	"bytes"

	"fhirdest.example/udap/conform"
)

// byHop gives a fault the stage and the name of an intermediary's.
func byHop(name string, f *Fault) *Fault {
	f.Name, f.Stage = "hop-"+name, Hop
	return f
}

func hopFaults() []*Fault {
	all := []*Fault{
		byHop("metadata-cut", ofMetadata("", "the connection ends in the middle of the metadata",
			"RFC 9112 8", cut)),
		byHop("metadata-byte", ofMetadata("", "one byte of signed_metadata was altered on the way",
			"S2-07; RFC 7515 5.2", alteredSignature)),
		byHop("metadata-421", ofMetadata("", "421: the intermediary does not serve this host",
			"RFC 9110 15.5.20", func(m *Message, _ *workshop) error {
				m.become(misdirected())
				return nil
			})),
		byHop("read-cut", unread("", "the connection ends in the middle of a resource", "RFC 9112 8", cut)),
		byHop("read-byte", unread("", "one byte of a resource was altered on the way, so that it is no JSON",
			"RFC 8259 2", alteredResource)),
		sameConnection(),
	}

	for _, at := range []struct {
		name  string
		point point
		after func(name, title, rule string) *Fault
	}{
		{"registration", registering, ofRegistration},
		{"token", tokens, ofToken},
	} {
		for _, status := range []int{502, 504} {
			all = append(all, unanswered(at.name, at.point, status, at.after))
		}
	}

	return all
}

// unanswered is a request that the destination acted on and whose answer an
// intermediary lost.
func unanswered(
	name string, at point, status int, of func(name, title, rule string) *Fault,
) *Fault {
	number, text := "502", "The next hop closed the connection without an answer."
	if status == 504 {
		number, text = "504", "The next hop did not answer in time."
	}

	f := of("", number+" by an intermediary: it is unknown whether the destination acted",
		"S1-082; RFC 9110 15.6.3 9.2.2")
	f.Correct = "sends the signed document no second time, as it may be spent; a new one is right"
	return byHop(name+"-"+number, altered(f, at, func(m *Message, _ *workshop) error {
		m.become(outcome(status, "transient", text))
		return nil
	}))
}

func misdirected() *Message {
	return outcome(421, "security", "The host named in the request is not served on this connection.")
}

// alteredSignature alters one character of signed_metadata.
func alteredSignature(m *Message, _ *workshop) error {
	i := bytes.Index(m.Body, []byte(`"signed_metadata":"`))
	if i < 0 {
		return errNot
	}

	i += 2000 // within the certificates of the header
	for i < len(m.Body) && !isLetter(m.Body[i]) {
		i++
	}
	if i >= len(m.Body) {
		return errNot
	}

	m.Body = bytes.Clone(m.Body)
	m.Body[i] ^= 1 << 5 // a letter in the other case
	return nil
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// alteredResource alters the bracket that ends a resource.
func alteredResource(m *Message, _ *workshop) error {
	body := bytes.TrimRight(m.Body, " \r\n")
	if len(body) == 0 || body[len(body)-1] != '}' {
		return errNot
	}
	m.Body = bytes.Clone(body)
	m.Body[len(body)-1] ^= 1 << 5
	return nil
}

// sameConnection is a 421 to a read.
func sameConnection() *Fault {
	return replaced(&Fault{
		Name:    "hop-read-421",
		Stage:   Hop,
		Title:   "421: the intermediary does not serve this host on this connection",
		Correct: "does not send the request on the same connection again",
		Rule:    "RFC 9110 15.5.20",
		Lasts:   OneAnswer,
		Within:  halfMinute,
		Ignored: "the same request on the same connection",
		Silence: Noticed,
		reads: func(h *history) decide {
			return func(e *conform.Exchange) (Verdict, string) {
				switch {
				case e.Target != h.faulty.Target:
					return "", ""
				case e.Conn == h.faulty.Conn && e.Conn != "":
					return Ignored, "it asked again on the same connection: " + shown(e)
				}
				return Noticed, "it asked again on another connection: " + shown(e)
			}
		},
	}, resources, func(*workshop) *Message { return misdirected() })
}
