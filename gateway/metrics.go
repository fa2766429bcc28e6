package gateway

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
)

// metrics are counters, with nothing of any message's content.
type metrics struct {
	accepted, limited, handshakeFailures, delayed atomic.Int64
	dials, spares, panics                         atomic.Int64
	requests, requestBytes                        atomic.Int64
	answers, answerBytes                          atomic.Int64
	faults                                        [len(faultStatuses)]atomic.Int64
}

// faultStatuses are the statuses of the gateway's own answers.
var faultStatuses = [...]int{400, 404, 408, 421, 431, 500, 502, 503, 504, 505}

// own counts an answer of the gateway's own.
func (m *metrics) own(status int) {
	for i, s := range faultStatuses {
		if s == status {
			m.faults[i].Add(1)
		}
	}
}

// count counts a message that went through, or as far as it went.
func (m *metrics) count(t *tally, response bool) {
	if response {
		m.answers.Add(1)
		m.answerBytes.Add(t.nOut)
		return
	}
	m.requests.Add(1)
	m.requestBytes.Add(t.nIn)
}

// WriteMetrics writes the counters in Prometheus's text format.
func (g *Gateway) WriteMetrics(w io.Writer) error {
	m := &g.metrics
	p := printer{w: w}
	p.gauge(
		"gateway_connections",
		"Connections of clients that are open.",
		int64(g.clients.count()),
	)

	p.gauge(
		"gateway_memory_bytes",
		"Memory of connections and buffers, by estimate.",
		g.memory.used.Load(),
	)

	p.gauge(
		"gateway_upstreams",
		"Connections to next hops that are open.",
		int64(g.ups.count()),
	)

	g.writeEndpoints(&p)
	p.counter("gateway_connections_total", "Connections accepted.", m.accepted.Load())
	p.counter("gateway_connections_limited_total", "Connections closed at once, as a limit was reached.",
		m.limited.Load())

	p.counter("gateway_handshake_failures_total", "TLS handshakes of clients that failed.",
		m.handshakeFailures.Load())
	p.counter("gateway_requests_delayed_total", "Requests that waited for their address's rate.",
		m.delayed.Load())

	p.counter("gateway_requests_total", "Requests received.", m.requests.Load())
	p.counter(
		"gateway_request_bytes_total",
		"Bytes of requests, framing included.",
		m.requestBytes.Load(),
	)

	p.counter("gateway_answers_total", "Answers sent, interim ones and the gateway's own included.",
		m.answers.Load())
	p.counter(
		"gateway_answer_bytes_total",
		"Bytes of answers, framing included.",
		m.answerBytes.Load(),
	)

	p.counter(
		"gateway_upstream_dials_total",
		"Connections made to next hops.",
		m.dials.Load(),
	)

	p.counter("gateway_upstream_spares_total", "Connections that were ready when they were needed.",
		m.spares.Load())

	p.counter(
		"gateway_panics_total",
		"Faults of the gateway that ended a connection.",
		m.panics.Load(),
	)

	p.head(
		"gateway_own_answers_total",
		"Answers of the gateway's own, by status.",
		"counter",
	)

	for i, s := range faultStatuses {
		p.printf("gateway_own_answers_total{status=\"%d\"} %d\n", s, m.faults[i].Load())
	}

	failing := int64(0)
	if g.evidence != nil && g.evidence.Err() != nil {
		failing = 1
	}
	p.gauge("gateway_evidence_failing", "1 while messages cannot be recorded.", failing)

	return p.err
}

// writeEndpoints writes the state of each address of a next hop.
func (g *Gateway) writeEndpoints(p *printer) {
	list := g.state.Load().table.sortedEndpoints()
	const connections = "gateway_next_hop_connections"
	p.head(connections, "Connections to an address of a next hop that are open.", "gauge")
	for _, e := range list {
		p.printf("%s{%s} %d\n", connections, e.labels(), e.open.Load())
	}

	const up = "gateway_next_hop_up"
	p.head(up, "0 while an address of a next hop is out, as it did not accept a connection.", "gauge")
	for _, e := range list {
		accepts := 1
		if g.endpoints.out(e).out {
			accepts = 0
		}
		p.printf("%s{%s} %d\n", up, e.labels(), accepts)
	}
}

// labelText escapes the value of a label.
var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labels are those of its metrics.
func (k endpointKey) labels() string {
	return `route="` + labelText.Replace(k.route) + `",address="` + labelText.Replace(k.address) + `"`
}

// printer remembers the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, a...)
	}
}

func (p *printer) head(name, help, kind string) {
	p.printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (p *printer) counter(name, help string, v int64) {
	p.head(name, help, "counter")
	p.printf("%s %d\n", name, v)
}

func (p *printer) gauge(name, help string, v int64) {
	p.head(name, help, "gauge")
	p.printf("%s %d\n", name, v)
}
