package main

import (
	"net"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/gateway/wire"
)

// tap opens the evidence file that -evidence names: one line for each message
// that crosses our own wire, under TLS. With -connect-name, what listens is the destination
// itself, so that the lines are marked as past the hops between.
func (c *call) tap() (func(net.Conn) net.Conn, error) {
	if c.Evidence == "" {
		return nil, nil
	}

	log, err := evidence.Open(c.Evidence, "originator", evidence.Options{Now: c.now})
	if err != nil {
		return nil, complaint.New(err.Error(), "-evidence names a file to append to")
	}

	c.atEnd = append(c.atEnd, log.Close)
	record := log.Tap
	if c.ConnectName != "" {
		record = func(m *wire.Message) {
			marked := *m
			marked.Route = evidence.RouteStraight
			log.Tap(&marked)
		}
	}

	return func(conn net.Conn) net.Conn {
		return wire.Client(conn, log.ConnID(), c.now, record)
	}, nil
}
