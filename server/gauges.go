package server

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meter counts what the public listener does. Labels take their values from
// fixed lists, so that no client can make it grow.
type meter struct {
	registry   *prometheus.Registry
	requests   *prometheus.CounterVec
	panics     prometheus.Counter
	overloaded prometheus.Counter
	forwarded  prometheus.Counter
	framing    prometheus.Counter
}

func newMeter() *meter {
	m := &meter{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "destination_requests_total",
			Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		panics: counter("destination_panics_total", "Requests that ended in a panic."),
		overloaded: counter("destination_overloaded_total",
			"Requests turned away because too many were being answered."),
		forwarded: counter("destination_forwarded_mismatch_total",
			"Requests whose X-Forwarded-Host is not the public host (never used)."),
		framing: counter("destination_framing_refused_total",
			"Requests refused because they could be framed in more than one way."),
	}
	m.registry.MustRegister(m.requests, m.panics, m.overloaded, m.forwarded, m.framing)

	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: name,
		Help: help,
	})
}

func (m *meter) answered(route, method string, status int) {
	if !slices.Contains(allMethods, method) {
		method = "other"
	}
	if route == "" {
		route = "none"
	}
	if status == 0 {
		status = http.StatusOK
	}

	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
}

// gauges reports, when metrics are asked for, what is kept elsewhere.
type gauges struct{ s *Site }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe sends nothing: the values that exist depend on the configuration.
func (g *gauges) Describe(chan<- *prometheus.Desc) {}

// Collect sends the present values.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	now := g.s.deps.Now()
	for c, n := range g.s.decisions.Counts() {
		out <- prometheus.MustNewConstMetric(
			describe("destination_decisions_total",
				"Decisions, by what was asked for, outcome and refusing check.",
				"action", "outcome", "check"),
			prometheus.CounterValue, float64(n), c.Action, c.Outcome, c.Check)
	}

	out <- prometheus.MustNewConstMetric(
		describe("destination_decisions_lost_total",
			"Decisions that could not be stored."), prometheus.CounterValue, float64(g.s.decisions.Lost()))
	for _, m := range *g.s.current.Load() {
		for _, own := range m.own {
			leaf := own.Leaf()
			out <- prometheus.MustNewConstMetric(
				describe("destination_certificate_expiry_seconds",
					"Seconds until our certificate in a community runs out.", "community", "serial"),
				prometheus.GaugeValue, leaf.NotAfter.Sub(now).Seconds(), string(m.udap.URI), leaf.SerialNumber.Text(16))
		}
	}

	g.lists(out)
	g.collectors(out)
	g.pools(out)
	g.stored(out, now)
}

// stored is what the stores have to be asked for; nothing while they cannot be reached.
func (g *gauges) stored(out chan<- prometheus.Metric, now time.Time) {
	reachable := 1.0
	if g.s.stores.Reach(context.Background()) != nil {
		reachable = 0
	}
	out <- prometheus.MustNewConstMetric(
		describe("destination_stores_reachable", "1 when the stores can be reached and used."),
		prometheus.GaugeValue, reachable)
	if reachable == 0 {
		return
	}

	out <- prometheus.MustNewConstMetric(describe("destination_live_jti", "Used jti that are remembered."),
		prometheus.GaugeValue, float64(g.s.stores.Trust.LiveJTI()))
	out <- prometheus.MustNewConstMetric(
		describe("destination_client_certificates_expiring",
			"Registered clients whose certificate has run out or will within 30 days."),
		prometheus.GaugeValue, float64(g.s.countExpiring(now)))
}

// pools are the connections to the database; none with files.
func (g *gauges) pools(out chan<- prometheus.Metric) {
	for _, p := range g.s.stores.Pools() {
		for _, m := range []struct {
			name, help string
			kind       prometheus.ValueType
			value      float64
		}{
			{
				"destination_database_connections", "Open connections to the database.",
				prometheus.GaugeValue, float64(p.Open),
			},
			{
				"destination_database_connections_used", "Connections to the database that requests have.",
				prometheus.GaugeValue, float64(p.Used),
			},
			{
				"destination_database_connections_most", "Bound of the connections to the database.",
				prometheus.GaugeValue, float64(p.Most),
			},
			{
				"destination_database_waits_total", "Requests that waited for a connection to the database.",
				prometheus.CounterValue, float64(p.Waited),
			},
			{
				"destination_database_failures_total", "Times that the database could not be used.",
				prometheus.CounterValue, float64(p.Failed),
			},
		} {
			out <- prometheus.MustNewConstMetric(describe(m.name, m.help, "store"), m.kind, m.value, p.Schema)
		}
	}
}

// collectors are those of the audit record.
func (g *gauges) collectors(out chan<- prometheus.Metric) {
	for _, f := range g.s.forwarders {
		s := f.State()
		for _, m := range []struct {
			name, help string
			kind       prometheus.ValueType
			value      uint64
		}{
			{
				"destination_audit_lag", "Audit records that a collector lacks.",
				prometheus.GaugeValue, s.Lag,
			},
			{
				"destination_audit_forwarded_total", "Audit records that a collector has accepted.",
				prometheus.CounterValue, s.Sent,
			},
			{
				"destination_audit_forward_failures_total", "Attempts to send audit records that failed.",
				prometheus.CounterValue, s.Failures,
			},
			{
				"destination_audit_missed_total",
				"Audit records that were removed before a collector had accepted them.",
				prometheus.CounterValue, s.Missed,
			},
		} {
			out <- prometheus.MustNewConstMetric(
				describe(m.name, m.help, "collector"),
				m.kind,
				float64(m.value),
				s.Name,
			)
		}
	}
}

func (g *gauges) lists(out chan<- prometheus.Metric) {
	for _, l := range g.s.revocation.State() {
		out <- prometheus.MustNewConstMetric(
			describe("destination_list_age_seconds", "Seconds since a revocation list was fetched.", "place",
				"issuer"),
			prometheus.GaugeValue, float64(l.AgeSeconds), l.Place, l.Issuer)
		usable := 0.0
		if l.Usable {
			usable = 1
		}

		out <- prometheus.MustNewConstMetric(
			describe("destination_list_usable", "1 when a revocation list counts.", "place", "issuer"),
			prometheus.GaugeValue, usable, l.Place, l.Issuer)
	}
}
