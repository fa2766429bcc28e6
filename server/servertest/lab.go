package servertest

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/udap/client"
)

// Lab configures a lab whose sessions have certificates in both communities: a change
// of an Env for Start.
func Lab(w *Env) {
	w.tb.Helper()
	w.Config.Lab = &lab.Settings{
		Open:  "public",
		Plain: true,
	}

	for _, m := range []struct {
		name, uri string
		community *certs.Community
	}{
		{"a", URIA, w.A},
		{"b", URIB, w.B},
	} {
		ca := m.community.Issuing
		chain, key := "lab-"+m.name+".pem", "lab-"+m.name+".key"
		w.must(certs.WriteIdentity(filepath.Join(w.Dir, chain), filepath.Join(w.Dir, key), &certs.Identity{
			Chain: append([]*x509.Certificate{ca.Cert}, ca.Parents...),
			Key:   ca.Key,
		}))
		w.Config.Lab.Issuers = append(w.Config.Lab.Issuers, lab.IssuerSettings{
			Community: m.uri,
			Chain:     chain,
			Key:       key,
			CRL:       w.Lists.URL + "/" + m.name + ".crl",
		})
	}
	w.labDirectory()
}

// OpenLab opens a session of the lab at the console.
func (d *Destination) OpenLab(req lab.OpenRequest) *LabSession {
	d.tb.Helper()
	s := &LabSession{of: d}
	d.console(http.MethodPost, "/lab/api/sessions", req, http.StatusCreated, &s.Session)
	s.Destination = d.At(s.Session)
	return s
}

// LabSession is a session of the lab. Its Destination is that of the session: what
// originators are made from it go there.
type LabSession struct {
	lab.Session
	*Destination
	of *Destination
}

// At returns the destination as one that is at a session's base.
func (d *Destination) At(s lab.Session) *Destination {
	there := *d
	there.Base, there.Issuer = s.Base, s.Issuer
	return &there
}

// LabSession returns a session of the lab by its id.
func (d *Destination) LabSession(id string) *LabSession {
	d.tb.Helper()
	s := &LabSession{of: d}
	d.console(http.MethodGet, "/lab/"+id+"/api/session", nil, http.StatusOK, &s.Session)
	s.Destination = d.At(s.Session)
	return s
}

// Plain is the session of the destination's own base.
func (d *Destination) Plain() *LabSession {
	d.tb.Helper()
	return d.LabSession(lab.Plain)
}

// Kept are the exchanges that the session has, from the first on.
func (s *LabSession) Kept() []*lab.Kept {
	s.of.tb.Helper()
	var all []*lab.Kept
	for {
		var page struct {
			Exchanges []*lab.Kept `json:"exchanges"`
		}
		path := "/lab/" + s.Session.ID + "/api/exchanges?from=" + strconv.Itoa(len(all)+1)
		s.of.console(http.MethodGet, path, nil, http.StatusOK, &page)
		if len(page.Exchanges) == 0 {
			return all
		}

		all = append(all, page.Exchanges...)
	}
}

// Reopen returns a session as this destination, which was started again, has it.
func (d *Destination) Reopen(s *LabSession) *LabSession {
	return &LabSession{
		Session:     s.Session,
		Destination: d.At(s.Session),
		of:          d,
	}
}

// API asks the session's JSON interface at the console.
func (s *LabSession) API(method, name string, body any, status int, to any) {
	s.of.tb.Helper()
	s.of.console(method, "/lab/"+s.Session.ID+"/api/"+name, body, status, to)
}

// DialedAt is an originator of the session that connects to another address.
func (s *LabSession) DialedAt(address string, c *certs.Community, id *certs.Identity) *client.Client {
	there := *s.Destination
	there.Addr = address
	return there.Originator(c, id)
}

// console asks the console's JSON interface.
func (d *Destination) console(method, path string, body any, status int, to any) {
	d.tb.Helper()
	text, err := json.Marshal(body)
	d.must(err)
	req, err := http.NewRequest(method, d.Admin+path, bytes.NewReader(text))
	d.must(err)
	req.Header.Set("Content-Type", "application/json")

	res, err := http.DefaultClient.Do(req)
	d.must(err)
	defer res.Body.Close()

	answer, err := io.ReadAll(res.Body)
	d.must(err)
	if res.StatusCode != status {
		d.tb.Fatalf("%s %s: %s %s", method, path, res.Status, answer)
	}
	if to != nil {
		d.must(json.Unmarshal(answer, to))
	}
}
