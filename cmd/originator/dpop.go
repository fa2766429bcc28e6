package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/client"
)

// bindTokens has the tokens of this command bound to a new key, if -dpop wants that
// (RFC 9449), and returns what the session keeps of the key with them; empty: they
// are bearer tokens.
func (c *call) bindTokens() (kept string, err error) {
	if !c.dpop {
		return "", nil
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	if c.proofs, err = client.ProofsWith(key); err != nil {
		return "", err
	}

	der, err := x509.MarshalPKCS8PrivateKey(key)
	return base64.StdEncoding.EncodeToString(der), err
}

// useKey proves possession of the key to which the session's tokens are bound, if
// they are.
func (c *call) useKey() error {
	if c.session.DPoPKey == "" {
		return nil
	}

	der, err := base64.StdEncoding.DecodeString(c.session.DPoPKey)
	if err == nil {
		var key any
		if key, err = x509.ParsePKCS8PrivateKey(der); err == nil {
			c.proofs, err = client.ProofsWith(key.(crypto.Signer)) // every key of PKCS#8 signs
		}
	}
	if err != nil {
		return complaint.New("the key in the session cannot be used: "+err.Error(),
			"get a new token: originator token, or originator login")
	}

	return nil
}
