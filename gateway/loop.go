package gateway

import (
	"crypto/tls"
	"strconv"
	"strings"
)

// A loop may lead over several gateways, and no byte of a message may be changed to find
// it. So each gateway tells the next one, in the handshake, how many stand before that
// one: beside http/1.1 it offers a protocol of this name and number. Whoever does not
// know it passes it over (RFC 7301, 3.2).
const (
	hopProtocol = "fhirdest-hop-"
	maxHops     = 16
)

// hopsBefore returns how many gateways stand before us, by a client's offer.
func hopsBefore(protocols []string) int {
	for _, p := range protocols {
		if text, ok := strings.CutPrefix(p, hopProtocol); ok {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n > maxHops {
				return maxHops
			}
			return n
		}
	}
	return 0
}

// countHops has the handshakes of clients note the gateways before us.
func countHops(c *tls.Config) {
	choose := c.GetConfigForClient
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if raw, ok := hello.Conn.(*rawConn); ok {
			raw.before = hopsBefore(hello.SupportedProtos)
		}
		if choose == nil {
			return nil, nil
		}
		return choose(hello)
	}
}

// behind returns the configuration towards the next hop of a client that has so many
// gateways before us.
func (r *route) behind(before int) *tls.Config {
	c := r.tls.Clone()
	c.NextProtos = append(c.NextProtos[:1:1], hopProtocol+strconv.Itoa(before+1))
	return c
}
