package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/scripts/drive"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// certKey is a private key.
type certKey = crypto.Signer

// scopes are what every client is granted.
const scopes = "system/*.cruds"

// clientURI and clientID name the client with a number. Neither comes in the order of
// the numbers.
func clientURI(i int) trace.ClientURI {
	return trace.ClientURI("https://" + digest(i)[:12] + ".clinic.test/fhir/client")
}

func clientID(i int) trace.ClientID { return trace.ClientID(digest(i)[12:44]) }

func digest(i int) string {
	sum := sha256.Sum256(fmt.Append(nil, "client ", i))
	return hex.EncodeToString(sum[:])
}

// populate makes the populations, unless they are there.
func (s *side) populate(ctx context.Context, progress io.Writer) (err error) {
	if s.patients, err = drive.PatientsFor(max(1, s.resources)); err != nil {
		return err
	}

	data := s.path("data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}

	for _, file := range []struct {
		name string
		n    int
		fill func(ctx context.Context, path string) error
	}{
		{"trust.bolt", s.registrations, s.register},
		{"fhir.bolt", s.resources, s.load},
	} {
		path := data + "/" + file.name
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || file.n == 0 {
			continue
		}

		began := time.Now()
		if err := file.fill(ctx, path+".new"); err != nil {
			return err
		}
		if err := syncFile(path + ".new"); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}

		fmt.Fprintf(progress, "%s of %d: %.1f s\n", file.name, file.n, time.Since(began).Seconds())
	}

	return nil
}

// syncFile puts on disk what was stored without waiting for it, which the first start
// would otherwise wait for.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// load stores the sample's resources.
func (s *side) load(ctx context.Context, path string) error {
	store, err := bolt.OpenFHIR(path, bolt.Options{NoSync: true})
	if err != nil {
		return err
	}

	service, err := fhir.New(fhir.Config{
		PublicBase: base,
		Store:      store,
		Now:        time.Now,
		Authorize: func(*http.Request) (*fhir.Grant, *fhir.Denial) {
			return nil, nil
		},
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}

	return errors.Join(service.Seed(ctx, s.patients), service.Close(), store.Close())
}

// register stores registrations as the registration endpoint does. Their certificates
// run out in twelve different months.
func (s *side) register(ctx context.Context, path string) error {
	store, err := bolt.OpenTrust(path, bolt.Options{NoSync: true})
	if err != nil {
		return err
	}

	var templates []oauth.Registration
	for month := range 12 {
		t, err := s.template(time.Now().AddDate(0, 0, 15+30*month))
		if err != nil {
			return errors.Join(err, store.Close())
		}
		templates = append(templates, t)
	}

	const together = 1024 // share a commit
	failed := make(chan error, together)
	for from := 0; from < s.registrations && err == nil; from += together {
		to := min(from+together, s.registrations)
		for i := from; i < to; i++ {
			r := templates[i%len(templates)]
			r.Client = clientURI(i)
			r.ID = clientID(i)
			go func() { failed <- registerOne(ctx, store, r) }()
		}

		for range to - from {
			err = errors.Join(err, <-failed)
		}
	}

	return errors.Join(err, store.Close())
}

// long ago the registrations were made, so that their jti are forgotten.
var long = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func registerOne(ctx context.Context, store *bolt.Trust, r oauth.Registration) error {
	_, _, err := store.Register(ctx, oauth.Spend{
		Community: r.Community,
		Issuer:    string(r.Client),
		JTI:       rand.Text(),
		Since:     long,
		Until:     long.Add(5 * time.Minute),
		Expires:   long.Add(5 * time.Minute),
		Endpoint:  "register",
		Now:       long,
	}, r)
	return err
}

// template is a registration, with a statement and a certificate that are real but for
// the client that they name.
func (s *side) template(until time.Time) (r oauth.Registration, err error) {
	uri := string(clientURI(0))
	id, err := s.member(uri, until)
	if err != nil {
		return r, err
	}

	claims := fmt.Sprintf(`{"iss":%q,"sub":%[1]q,"aud":%q,"iat":%d,"exp":%d,"jti":%q,"client_name":"Growth clinic",`+
		`"contacts":["mailto:admin@clinic.test"],"grant_types":["client_credentials"],`+
		`"token_endpoint_auth_method":"private_key_jwt","scope":%q}`, uri, strings.Replace(tokenURL, "token",
		"register", 1),
		long.Unix(), long.Unix()+300, rand.Text(), scopes)
	statement, err := udap.Sign(id.Key, id.Chain, "", []byte(claims))
	return oauth.Registration{
		Community: community,
		Granted: oauth.Parameters{
			ClientName:              "Growth clinic",
			Contacts:                []string{"mailto:admin@clinic.test"},
			GrantTypes:              []string{"client_credentials"},
			TokenEndpointAuthMethod: "private_key_jwt",
			Scope:                   scopes,
		},
		Statement: statement,
		Leaf:      id.Leaf().Raw,
		Created:   long,
		Changed:   long,
		Epoch:     1,
	}, err
}
