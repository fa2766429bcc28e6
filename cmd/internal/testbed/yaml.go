package testbed

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"text/template"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/supervise"
)

// configs are the actors' configurations as text, each written in full, so that
// a reader sees every port, file and time-out, and can change it.
var configs = map[string]*template.Template{
	"destination.yaml":  parseConfig(destinationYAML),
	"destination2.yaml": parseConfig(destinationYAML),
	"idp.yaml":          parseConfig(idpYAML),
	"community.yaml":    parseConfig(communityYAML),
	"gateway.yaml":      parseConfig(gatewayYAML),
	"delegate.yaml":     parseConfig(gatewayYAML),
}

func parseConfig(text string) *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{"q": quoteYAML}).Parse(text))
}

// quoteYAML writes a string so that YAML reads it as that string.
func quoteYAML(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

const destinationYAML = `# The destination: it decides by itself whom it trusts. Files are relative to
# this one.
public: {{q .PublicBase}}    # FHIR base URL that originators know; the gateway answers there
private: {{q .PrivateBase}}  # the same behind the gateways; taken, never written
listen: {{q .Listen}}
tls:
  cert: tls/destination.pem
  key: tls/destination.key
admin:
  listen: {{q .Admin}}
  open: true                 # a sandbox shows everything to whoever is on this machine
{{- if .Database}}
data: {{q .Database}}   # a PostgreSQL server of the sandbox's own, which two destinations share
postgres:
  name: {{.Name}}
{{- else}}
data: data
{{- end}}
name: Sandbox Hospital       # shown to people
users: {{.Users}}            # those who can sign in
evidence: {{.Name}}.jsonl
hop: destination
explain: client              # clients are told in full why they are refused
unknownCommunity: '204'
cors:                        # pages of web servers on this machine may use it from a browser
  origins: ['http://localhost:*', 'https://localhost:*', 'http://127.0.0.1:*']
communities:
{{- range .Communities}}
  - uri: {{q .URI}}
    name: {{q .Name}}
    profile: {{.Profile}}
    anchors: [{{q .Anchor}}]
{{- if .Chain}}
    certificates:
      - chain: {{q .Chain}}
        key: {{q .Key}}
{{- else if .P12}}
    certificates:
      - p12: {{q .P12}}
{{- if .PasswordFile}}
        passwordFile: {{q .PasswordFile}}
{{- end}}
{{- end}}
{{- if .AIA}}
    aia: [{{q .AIA}}]
{{- end}}
{{- end}}
idps:                        # where people may sign in when a client names it
  - base: {{q .IDP}}
    community: {{q .IDPCommunity}}
    chain: server/idp.pem
    key: server/idp.key
    ca: tls/ca.pem
    contact: mailto:sandbox@destination.example
labels:                      # members of the first community read restricted data, for treatment
  clearances:
    - community: {{q (index .Communities 0).URI}}
      level: R
      sensitivities: ['*']
revocation:
  refresh: 1s                # a revoked certificate is refused within a second or two
  allow: [{{q .Lists}}{{range .Allow}}, {{q .}}{{end}}]   # lists there may stand at private addresses
{{- if .LabIssuers}}
lab:                         # sessions for clients under test, whose certificates are issued here
{{- if .Database}}
  data: data                 # they are files of this destination
{{- end}}
  issuers:
{{- range .LabIssuers}}
    - community: {{q .URI}}
      chain: {{q .Chain}}
      key: {{q .Key}}
      crl: {{q .CRL}}
{{- end}}
  open: public               # whoever reaches the gateway may open one
  plain: true                # one more has what arrives at the public base above
  tls: tls/ca.pem            # authority of the public site, which testers download
  faulty: {{q .Faulty}}   # listeners whose TLS is wrong, for deliberate faults
  faultyAuthority: {chain: tls/ca.pem, key: tls/ca.key}
  evidence: [gateway.jsonl, delegate.jsonl]
{{- end}}
patients: {{.Patients}}
writable: true               # testers change data, too
consents:
  breakGlass: true           # emergency access passes what a patient's Consents deny
auditReaders: [{{q .Auditor}}]   # a client that reads the audit records of all
tokenLifetime: 60m
timeouts:
  handshake: 10s
  header: 10s
  read: 60s
  write: 2m
  idle: 2m
  drain: 5s
`

const communityYAML = `# Lists and CA certificates of the sandbox's trust communities.
listen: {{q .Lists}}
dir: .
warnBefore: 24h
`

const gatewayYAML = `# A gateway: it terminates TLS and passes every byte on, unchanged. It knows no
# trust community.
hop: {{.Hop}}
listen: {{q .Listen}}
tls:
  - cert: tls/{{.Hop}}.pem
    key: tls/{{.Hop}}.key
evidence:
  file: {{.Hop}}.jsonl
  flush: 50ms
routes:
{{- if .Lab}}
  - name: lab                # sessions of the lab are at one of the destinations
    hosts: [{{q .Host}}]
    prefixes:
      - {{.Site}}/lab
      - /.well-known/oauth-authorization-server{{.Site}}/lab
    next: {{q .Next}}
    dial: {{q .Lab}}
    ca: tls/ca.pem
{{- end}}
  - name: acme
    hosts: [{{q .Host}}]     # the public authority, as clients write it, at every hop
    prefixes:
      - {{.Site}}
      - /.well-known/oauth-authorization-server{{.Site}}
    next: {{q .Next}}
    dial: [{{range $i, $a := .Dial}}{{if $i}}, {{end}}{{q $a}}{{end}}]
    ca: tls/ca.pem
timeouts:
  handshake: 10s
  head: 10s
  idle: 60s
  body: 30s
  connect: 10s
  firstByte: 60s
  stall: 10m
  write: 60s
  drain: 5s
limits:                      # memory and connections have defaults, shown by /health
  connectionsPerAddress: 1000   # testers often share one
  bodyRate: 100              # bytes a second below which a body makes no progress
  answerRate: 1000           # bytes a second below which a client does not read
`

// gatewayData fills gatewayYAML.
type gatewayData struct {
	Hop, Listen, Host, Site, Next string
	Dial                          []string
	Lab                           string // address of the destination that has the lab; empty: there is one destination
}

// gatewayData is the configuration of the inbound gateway or of the delegated
// intermediary.
func (w *Env) gatewayData(hop string) gatewayData {
	data := gatewayData{
		Hop:  hop,
		Host: HostOf(w.publicOrigin()),
		Site: site,
	}

	if hop == "gateway" {
		data.Listen = w.Ports["public"].Address
		data.Next, data.Dial = w.delegateOrigin(), []string{supervise.Dialable(w.Ports["delegate"].Address)}
		return data
	}

	data.Listen = w.Ports["delegate"].Address
	data.Next, data.Dial = w.privateOrigin(), privates(w)
	if second(w) {
		data.Lab = data.Dial[0]
	}
	if p := w.Ports["tamper"]; p != nil {
		data.Dial = []string{p.Address}
	}

	return data
}

// destinationData fills destinationYAML.
type destinationData struct {
	Name, Database                                string // Database is empty for files
	PublicBase, PrivateBase, Listen, Admin, Lists string
	Communities                                   []communityData
	Patients                                      int
	Allow                                         []string // further places of lists
	Users, IDP, IDPCommunity                      string
	Auditor                                       string
	LabIssuers                                    []issuerData
	Faulty                                        string // address of listeners with faulty TLS
}

// issuerData is an issuing authority of the lab.
type issuerData struct{ URI, Chain, Key, CRL string }

type communityData struct {
	URI, Name, Profile, Anchor, Chain, Key, P12, PasswordFile, AIA string
}

// anyPort returns the host of an address with the port 0.
func anyPort(address string) string {
	host, _, _ := net.SplitHostPort(address) // of a port that is open
	return net.JoinHostPort(host, "0")
}

func (w *Env) destinationData(patients int) destinationData {
	data := destinationData{
		Name:        "destination",
		Database:    w.database,
		PublicBase:  w.publicBase(),
		PrivateBase: w.privateBase(),
		Patients:    patients,
		Lists:       w.listsBase(),
		Listen:      w.Ports["private"].Address,
		Admin:       w.Ports["admin"].Address,
		Faulty:      anyPort(w.Ports["private"].Address),

		Users:        usersFile,
		IDP:          w.idpBase(),
		IDPCommunity: CommunityIDP,
		Auditor:      auditor.URI,
	}

	for _, p := range Communities {
		data.Communities = append(data.Communities, communityData{
			URI:     p.URI,
			Name:    p.name,
			Profile: p.profile,
			Anchor:  p.file + "-root.pem",
			Chain:   "server/" + p.file + ".pem",
			Key:     "server/" + p.file + ".key",
			AIA:     w.listsBase(),
		})

		if p.URI != CommunityIDP { // its members are no clients
			data.LabIssuers = append(data.LabIssuers, issuerData{
				URI:   p.URI,
				Chain: p.file + ".pem",
				Key:   p.file + ".key",
				CRL:   w.authorities[p.URI].URL(".crl"),
			})
		}
	}

	for _, f := range w.foreign {
		data.Allow = append(data.Allow, f.lists...)
		data.Communities = append(data.Communities, communityData{
			URI:          f.URI,
			Name:         f.URI,
			Profile:      "ssraa-2",
			Anchor:       f.Anchor,
			P12:          f.identity,
			PasswordFile: f.passwordFile,
		})
	}

	return data
}

// secondData is the configuration of the second destination: that of the first but for
// its name, its addresses and the lab.
func secondData(w *Env, patients int) destinationData {
	data := w.destinationData(patients)
	data.Name = "destination2"
	data.PrivateBase = w.origin(w.name("destination"), "private2") + site + "/fhir"
	data.Listen = w.Ports["private2"].Address
	data.Admin = w.Ports["admin2"].Address
	data.LabIssuers = nil
	return data
}

// writeConfigs writes the configurations of all actors.
func (w *Env) writeConfigs(patients int) error {
	data := map[string]any{
		"destination.yaml": w.destinationData(patients),
		"idp.yaml":         w.idpData(),
		"community.yaml":   map[string]string{"Lists": w.Ports["crl"].Address},
		"gateway.yaml":     w.gatewayData("gateway"),
		"delegate.yaml":    w.gatewayData("delegate"),
	}

	if second(w) {
		data["destination2.yaml"] = secondData(w, patients)
	} else if err := removeSecond(w); err != nil {
		return err
	}

	for name, t := range configs {
		if data[name] == nil {
			continue
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := certs.WriteFile(w.path(name), b.Bytes(), certs.ModeSecret); err != nil {
			return err
		}
	}

	return nil
}
