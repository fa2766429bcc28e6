package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"fhirdest.example/udap/trace"
)

// examineTLS examines the handshake and the certificates. It reports whether the
// handshake came to its end.
func (e *examination) examineTLS(ctx context.Context) bool {
	c, err := e.Dial(ctx, "tcp", e.addr)
	if err != nil {
		e.refuse(checkReach, trace.Finding{
			Expected: "a connection to " + e.addr,
			Found:    err.Error(),
			Remedy:   "start the server, or name the address at which it can be reached",
		})
		return false
	}

	_ = c.Close()

	state, err := e.handshake(ctx, tls.VersionTLS10, tls.VersionTLS13)
	if state == nil {
		e.refuse(checkReach, trace.Finding{
			Expected: "a TLS handshake",
			Found:    err.Error(),
			Remedy:   "have it speak TLS 1.2 and 1.3 for the name " + e.host,
		})
		return false
	}

	e.trace.Pass(checkReach, "", e.addr+", "+tls.VersionName(state.Version))
	if e.examineVersions(ctx) {
		e.examineSuites(ctx)
		e.examineHello(ctx)
	}
	e.examineALPN(state)
	e.examineCertificates(state)
	if err != nil {
		e.trace.Skip(checkAnswers, "the handshake came to no end: "+err.Error())
	}

	return err == nil
}

// handshake makes one handshake between two versions, inclusive, and returns its
// state; it verifies nothing. A state with an error is of a server that ended the
// handshake after it had shown its certificate.
func (e *examination) handshake(ctx context.Context, low, high uint16) (*tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plain, err := e.Dial(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}
	defer plain.Close()

	var state *tls.ConnectionState
	c := tls.Client(plain, e.tlsConfig(low, high, []string{"h2", "http/1.1"}, func(s tls.ConnectionState) error {
		state = &s
		return nil
	}))
	err = c.HandshakeContext(ctx)
	return state, err
}

// tlsConfig accepts whatever a server has between two versions: what it has is what
// is examined.
func (e *examination) tlsConfig(
	low, high uint16, protocols []string, seen func(tls.ConnectionState) error,
) *tls.Config {
	c := &tls.Config{
		ServerName:         e.host,
		MinVersion:         low,
		MaxVersion:         high,
		NextProtos:         protocols,
		InsecureSkipVerify: true, // nothing secret is sent, and the chain has a check of its own
		VerifyConnection:   seen,
	}

	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		c.CipherSuites = append(c.CipherSuites, s.ID)
	}
	return c
}

// examineVersions reports whether TLS 1.2 is accepted.
func (e *examination) examineVersions(ctx context.Context) bool {
	var old []string
	for _, v := range outdated {
		h, err := e.try(ctx, offer{v.version, everySuite()})
		if err == nil && h.version == v.version {
			old = append(old, v.name)
		}
		if err != nil && !errors.Is(err, errRefused) {
			e.unexamined(checkVersions, err)
			return false
		}
	}

	two, _ := e.handshake(ctx, tls.VersionTLS12, tls.VersionTLS12)
	three, _ := e.handshake(ctx, tls.VersionTLS13, tls.VersionTLS13)
	switch expected := "TLS 1.2 and 1.3"; {
	case len(old) > 0:
		e.refuse(checkVersions, trace.Finding{
			Expected: expected,
			Found:    strings.Join(old, " and ") + " too",
			Remedy:   "set the lowest version to TLS 1.2",
		})

	case two == nil || three == nil:
		missing := "TLS 1.2 is refused"
		if three == nil {
			missing = "TLS 1.3 is refused"
		}
		e.trace.Warn(checkVersions, trace.Finding{
			Expected: expected,
			Found:    missing,
			Remedy:   "accept both: RFC 9325 has every server support 1.2, and prefer 1.3",
		})

	default:
		e.trace.Pass(checkVersions, "", expected)
	}

	return two != nil
}

func (e *examination) unexamined(c trace.Check, err error) {
	e.trace.Warn(c, trace.Finding{
		Expected: "a connection",
		Found:    err.Error(),
		Remedy:   "run the examination again, at a time of less load",
	})
}

// examineSuites offers weak suites alone until none is chosen.
func (e *examination) examineSuites(ctx context.Context) {
	var accepted []string
	for left := weakSuites(); len(left) > 0; {
		h, err := e.try(ctx, offer{versionTLS12, left})
		if err != nil && !errors.Is(err, errRefused) {
			e.unexamined(checkSuites, err)
			return
		}
		if err != nil {
			break
		}

		accepted = append(accepted, suiteName(h.suite))
		before := len(left)
		left = without(left, h.suite)
		if len(left) == before { // it chose what was not offered
			break
		}
	}

	if len(accepted) > 0 {
		e.refuse(checkSuites, trace.Finding{
			Expected: "suites with ECDHE and AEAD only",
			Found:    strings.Join(accepted, ", "),
			Remedy:   "remove them from the suites of TLS 1.2",
		})
		return
	}

	e.trace.Pass(checkSuites, "", fmt.Sprintf("each of %d weak suites is refused", len(weak)))
}

func without(list []uint16, value uint16) (out []uint16) {
	for _, v := range list {
		if v != value {
			out = append(out, v)
		}
	}
	return out
}

// examineHello examines what a server chooses beside the suite.
func (e *examination) examineHello(ctx context.Context) {
	h, err := e.try(ctx, offer{versionTLS12, everySuite()})
	if err != nil {
		e.unexamined(checkCompression, err)
		return
	}

	if h.compression != 0 {
		e.refuse(checkCompression, trace.Finding{
			Expected: "no compression",
			Found:    fmt.Sprintf("method %d", h.compression),
			Remedy:   "switch compression off: it discloses secrets by their length (CRIME)",
		})
	} else {
		e.trace.Pass(checkCompression, "", "none")
	}

	if !h.renews {
		e.refuse(checkRenegotiation, trace.Finding{
			Expected: "the extension renegotiation_info (RFC 5746)",
			Found:    "none",
			Remedy:   "update the TLS library, or switch renegotiation off",
		})
		return
	}

	e.trace.Pass(checkRenegotiation, "", "renegotiation_info is there")
}

func (e *examination) examineALPN(state *tls.ConnectionState) {
	switch state.NegotiatedProtocol {
	case "http/1.1":
		e.trace.Pass(checkALPN, "", "http/1.1, of h2 and http/1.1")
	case "":
		e.trace.Warn(checkALPN, trace.Finding{
			Expected: "http/1.1",
			Found:    "no protocol is chosen",
			Remedy:   "configure http/1.1 as the one protocol of ALPN",
		})

	default:
		e.refuse(checkALPN, trace.Finding{
			Expected: "http/1.1",
			Found:    state.NegotiatedProtocol,
			Remedy:   "switch HTTP/2 off",
		})
	}
}
