package testbed

// EvidenceFiles are the evidence of each hop, in the manifest's order.
var EvidenceFiles = []string{
	"destination.jsonl",
	"gateway.jsonl",
	"delegate.jsonl",
	"originator.jsonl",
}

// describe names the files of a member.
func (m member) describe() Client {
	path := "clients/" + m.name
	return Client{
		Name:        m.name,
		URI:         m.URI,
		Community:   m.community,
		Chain:       path + ".pem",
		Key:         path + ".key",
		P12:         path + ".p12",
		P12Password: p12Password,
	}
}

// Manifest describes the environment for other programs.
func (w *Env) Manifest() *Manifest {
	m := &Manifest{
		Version: 1, PublicBase: w.publicBase(), PrivateBase: w.privateBase(),
		Gateways: []string{w.publicOrigin(), w.delegateOrigin()},
		Admin:    "http://" + w.Ports["admin"].Address,
		Addresses: map[string]string{
			"public": w.Ports["public"].Address, "delegate": w.Ports["delegate"].Address,
			"private": w.Ports["private"].Address, "crl": w.Ports["crl"].Address,
			"idp": w.Ports["idp"].Address,
		},
		IDP:   w.idpBase(),
		Lab:   w.publicOrigin() + site + "/lab",
		TLSCA: "tls/ca.pem", Evidence: EvidenceFiles,
		Configs: map[string]string{
			"destination": "destination.yaml", "gateway": "gateway.yaml", "delegate": "delegate.yaml",
			"community": "community.yaml", "idp": "idp.yaml",
		},
	}

	if second(w) {
		m.Addresses["private2"] = w.Ports["private2"].Address
		m.Addresses["admin2"] = w.Ports["admin2"].Address
		m.Configs["destination2"] = "destination2.yaml"
		m.Evidence = append(m.Evidence[:len(m.Evidence):len(m.Evidence)], "destination2.jsonl")
	}

	for _, p := range Communities {
		m.Communities = append(m.Communities, Community{
			URI: p.URI, Name: p.name, Anchor: p.file + "-root.pem",
			Issuer: KeyPair{
				Cert: p.file + ".pem",
				Key:  p.file + ".key",
			},
			CRL: w.authorities[p.URI].URL(".crl"),
		})
	}

	for _, c := range members {
		m.Clients = append(m.Clients, c.describe())
	}

	reader := auditor.describe()
	m.Auditor = &reader
	for _, p := range people() {
		m.Users = append(m.Users, User{
			Username: p.username,
			Password: p.password(),
			Patient:  p.patient,
			FHIRUser: p.fhirUser,
		})
	}

	return m
}
