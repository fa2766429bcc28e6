package answer

import (
	"time"

	"fhirdest.example/udap/conform"
)

// ofTLS is a fault of the certificate or the protocol of a listener of its own. An
// exchange without a method is a handshake that the client ended.
func ofTLS(name, title, rule string) *Fault {
	return &Fault{
		Name:    "tls-" + name,
		Stage:   TLS,
		Title:   title,
		Correct: "ends the handshake, and sends no request",
		Rule:    rule,
		Lasts:   UntilCleared,
		Needs:   NeedsListener,
		Within:  time.Second,
		Ignored: "a request over this connection",
		Silence: Noticed,
		reads: func(*history) decide {
			return func(e *conform.Exchange) (Verdict, string) {
				if e.Method == "" {
					return Noticed, "it ended the handshake"
				}
				return Ignored, "it sent a request: " + shown(e)
			}
		},
	}
}

var tlsFaults = []*Fault{
	ofTLS("expired", "the web server's certificate has expired", "RFC 5280 6.1.3; RFC 9110 4.3.4"),
	ofTLS("not-yet-valid", "the web server's certificate is not valid yet", "RFC 5280 6.1.3; RFC 9110 4.3.4"),
	ofTLS("wrong-name", "the web server's certificate is for another host", "RFC 9525 6; RFC 9110 4.3.4"),
	ofTLS("self-signed", "the web server's certificate was issued by itself", "RFC 5280 6.1; RFC 9110 4.3.4"),
	ofTLS("other-authority", "the web server's certificate leads to an authority that nobody trusts",
		"RFC 5280 6.1; RFC 9110 4.3.4"),
	ofTLS("missing-intermediate", "the web server does not send the authority between its certificate and the root",
		"RFC 5280 6.1; RFC 8446 4.4.2"),
	ofTLS("old-version", "the web server speaks TLS 1.1 at most", "RFC 8996; RFC 9325 3.1.1"),
}
