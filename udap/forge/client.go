package forge

import (
	"crypto"
	"crypto/x509"

	"fhirdest.example/udap/jose"
)

// Client is a certificate with its key, and the chain that its holder sends.
type Client struct {
	URI   string
	Key   crypto.Signer
	Chain []*x509.Certificate
}

// Algorithm returns the algorithm of the client's key.
func (c *Client) Algorithm() string { return jose.AlgorithmFor(c.Key.Public()) }

// SignChain signs claims with the client's key and puts another chain into x5c.
// The first certificate need not be the key's.
func (c *Client) SignChain(claims Claims, chain ...*x509.Certificate) (string, error) {
	payload, err := claims.JSON()
	if err != nil {
		return "", err
	}
	return c.Raw().Sign(Header(c.Algorithm(), chain...), payload)
}

// Raw signs any bytes with the client's key and its own algorithm.
func (c *Client) Raw() Raw {
	return Raw{
		Alg: c.Algorithm(),
		Key: c.Key,
	}
}
