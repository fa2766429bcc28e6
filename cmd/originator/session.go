package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
)

// session is what one command leaves for the next. It holds tokens, so its file is readable by its owner only.
type session struct {
	Version  int       `json:"version"`
	ClientID string    `json:"clientId,omitempty"`
	Scope    string    `json:"scope,omitempty"` // as registered
	Token    string    `json:"token,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Name     string    `json:"name,omitempty"`
	Contacts []string  `json:"contacts,omitempty"`

	Grants    []string `json:"grants,omitempty"` // as registered; none: client_credentials
	Redirects []string `json:"redirects,omitempty"`
	Logo      string   `json:"logo,omitempty"`

	// What a person granted, who it was and for which patient.
	DPoPKey  string `json:"dpopKey,omitempty"` // PKCS#8 in base64, to which the tokens are bound; none: bearer tokens
	Refresh  string `json:"refresh,omitempty"`
	Granted  string `json:"granted,omitempty"`
	Subject  string `json:"subject,omitempty"`
	FHIRUser string `json:"fhirUser,omitempty"`
	Patient  string `json:"patient,omitempty"`

	Remembered remembered `json:"options"`
}

const sessionVersion = 1

func loadSession(path string) (*session, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &session{Version: sessionVersion}, nil
	}
	if err != nil {
		return nil, complaint.New(err.Error(), "name another session file (-session)")
	}

	var s session
	if err := json.Unmarshal(data, &s, json.RejectUnknownMembers(true)); err != nil ||
		s.Version != sessionVersion {
		return nil, complaint.New(
			fmt.Sprintf("%s is no session file (%v)", path, err),
			"remove it, or name another one (-session)",
		)
	}

	return &s, nil
}

func (s *session) save(path string) error {
	data, err := json.Marshal(s, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	return certs.WriteFile(path, append(data, '\n'), 0o600)
}

// forget drops what belongs to another destination or another identity.
func (s *session) forget() {
	*s = session{
		Version:    sessionVersion,
		Remembered: s.Remembered,
	}
}

// standalone returns the registered scopes; without the one that needs an EHR when
// none launches the client.
func (s *session) standalone(launch string) string {
	scopes := strings.Fields(s.Scope)
	if launch == "" {
		scopes = slices.DeleteFunc(scopes, func(text string) bool { return text == "launch" })
	}
	return strings.Join(scopes, " ")
}

// forgetTokens drops what a token request or a login left.
func (s *session) forgetTokens() {
	s.Token, s.Refresh, s.DPoPKey, s.Expires = "", "", "", time.Time{}
	s.Granted, s.Subject, s.FHIRUser, s.Patient = "", "", "", ""
}

// recall fills the flags that were not given from the session, and notices
// when base, community or identity changed: then client_id and token go.
func (s *session) recall(now *remembered) {
	old := s.Remembered
	if now.Cert != "" || now.P12 != "" {
		old.Cert, old.Key, old.P12, old.P12Password, old.URI, old.Algorithm = "", "", "", "", "", ""
	}
	if now.Base != "" && now.Base != old.Base {
		old.Community, old.Connect, old.ConnectName = "", "", ""
	}
	if now.Connect != "" && now.Connect != old.Connect {
		old.ConnectName = "" // the name of what listens at the other address
	}

	for _, f := range []struct{ now, old *string }{
		{&now.Base, &old.Base}, {&now.Community, &old.Community}, {&now.Cert, &old.Cert}, {&now.Key, &old.Key},
		{&now.P12, &old.P12}, {&now.P12Password, &old.P12Password}, {&now.URI, &old.URI}, {&now.Algorithm,
			&old.Algorithm},
		{&now.TLSCA, &old.TLSCA}, {&now.Connect, &old.Connect}, {&now.ConnectName, &old.ConnectName},
		{&now.Revocation, &old.Revocation}, {&now.Evidence, &old.Evidence},
		{&now.Organization, &old.Organization}, {&now.OrganizationName, &old.OrganizationName},
	} {
		if *f.now == "" {
			*f.now = *f.old
		}
	}

	for _, f := range []struct{ now, old *texts }{
		{&now.Anchors, &old.Anchors},
		{&now.Allow, &old.Allow},
		{&now.Lists, &old.Lists},
		{&now.AIA, &old.AIA},
	} {
		if len(*f.now) == 0 {
			*f.now = *f.old
		}
	}

	now.LoopbackHTTP = now.LoopbackHTTP || old.LoopbackHTTP && now.Base == old.Base
	same := now.Base == s.Remembered.Base && now.Community == s.Remembered.Community &&
		now.Cert == s.Remembered.Cert && now.P12 == s.Remembered.P12 && now.URI == s.Remembered.URI
	if !same {
		s.forget()
	}
	s.Remembered = *now
}

// absolute makes the paths of flags independent of the working directory.
func (r *remembered) absolute() error {
	for _, p := range []*string{
		&r.Cert, &r.Key, &r.P12, &r.P12Password, &r.TLSCA, &r.Evidence,
	} {
		if *p == "" {
			continue
		}

		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}

	return nil
}
