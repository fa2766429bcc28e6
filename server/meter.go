package server

import (
	"net/http"
	"slices"
	"strconv"

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
