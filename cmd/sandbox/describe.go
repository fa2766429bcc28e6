package main

import (
	"fhirdest.example/fhir/sample"
)

// evidenceFiles are the evidence of each hop, in the manifest's order.
var evidenceFiles = []string{"destination.jsonl", "gateway.jsonl", "delegate.jsonl", "originator.jsonl"}

// manifest describes the world for other programs.
func (w *env) manifest() *manifest {
	m := &manifest{
		Version: 1, PublicBase: w.publicBase(), PrivateBase: w.privateBase(),
		Gateways: []string{w.publicOrigin(), w.delegateOrigin()},
		Admin:    "http://" + w.ports["admin"].Address,
		Addresses: map[string]string{
			"public": w.ports["public"].Address, "delegate": w.ports["delegate"].Address,
			"private": w.ports["private"].Address, "crl": w.ports["crl"].Address,
		},
		TLSCA: "tls/ca.pem", Evidence: evidenceFiles,
		Configs: map[string]string{
			"destination": "destination.yaml", "gateway": "gateway.yaml", "delegate": "delegate.yaml", "community": "community.yaml",
		},
	}

	for _, p := range communities {
		m.Communities = append(m.Communities, communityEntry{
			URI: p.uri, Name: p.name, Anchor: p.file + "-root.pem",
			Issuer: keyPair{Cert: p.file + ".pem", Key: p.file + ".key"},
			CRL:    w.authorities[p.uri].URL(".crl"),
		})
	}

	for _, c := range members {
		path := "clients/" + c.name
		m.Clients = append(m.Clients, clientEntry{
			Name:        c.name,
			URI:         c.uri,
			Community:   c.community,
			Chain:       path + ".pem",
			Key:         path + ".key",
			P12:         path + ".p12",
			P12Password: p12Password,
		})
	}

	for i, name := range []string{"ana", "ben", "cho"} {
		m.Users = append(m.Users, userEntry{
			Username: name,
			Password: name + "-sandbox",
			Patient:  "Patient/" + sample.PatientID(i),
		})
	}

	return m
}
