package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// fault is an answer of the gateway's own.
type fault struct {
	status int
	code   string // of the OperationOutcome's issue
	text   string // fixed: it quotes nothing of the message and names no private host
}

var (
	faultRoute     = &fault{404, "not-found", "No destination stands under this path."}
	faultTarget    = &fault{400, "invalid", "The request target has no form that can be routed."}
	faultUpgrade   = &fault{400, "not-supported", "A request with an Upgrade field and a body is not passed."}
	faultHost      = &fault{421, "security", "The host named in the request is not served on this connection."}
	faultSlowHead  = &fault{408, "timeout", "The head of the request did not arrive in time."}
	faultSlowBody  = &fault{408, "timeout", "The body of the request did not arrive in time."}
	faultConnect   = &fault{502, "transient", "The next hop could not be reached."}
	faultTLS       = &fault{502, "security", "The next hop did not prove to be the one that was meant."}
	faultClosed    = &fault{502, "transient", "The next hop closed the connection without an answer."}
	faultAnswer    = &fault{502, "processing", "The next hop's answer cannot be framed without doubt."}
	faultSwitch    = &fault{502, "not-supported", "The next hop switched to a protocol that is not passed."}
	faultLoop      = &fault{502, "processing", "The next hop is this gateway itself."}
	faultNoConnect = &fault{504, "timeout", "The next hop did not take the connection in time."}
	faultNoAnswer  = &fault{504, "timeout", "The next hop did not answer in time."}
	faultBusy      = &fault{503, "throttled", "The gateway is at its ceiling of memory or connections."}
	faultOwn       = &fault{500, "exception", "The gateway failed."}
	faultEvidence  = &fault{500, "exception", "The gateway cannot record the exchange and so does not pass it."}
)

// framingFault is the answer to a request that cannot be framed.
func framingFault(status int, reason string) *fault {
	code := map[int]string{
		400: "structure",
		421: "security",
		431: "too-long",
		505: "not-supported",
	}[status]
	return &fault{status, code, "The request cannot be framed without doubt: " + reason + "."}
}

// answer is the whole message; a HEAD gets no body.
func (f *fault) answer(method string, now time.Time) []byte {
	body := `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"` + f.code + `","diagnostics":` +
		strconv.Quote(f.text) + `}]}`
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/fhir+json\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n",
		f.status, http.StatusText(f.status), now.UTC().Format(http.TimeFormat), len(body))
	if method == "HEAD" {
		body = ""
	}
	return append([]byte(head), body...)
}
