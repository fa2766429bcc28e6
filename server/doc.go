// Package server assembles a FHIR destination that decides by itself whom it
// trusts: it reads the configuration, opens the stores, puts the authorization
// server, the discovery documents and the FHIR service under their URLs on one
// TLS listener, and the record of its decisions on a second, loopback one.
package server
