package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gorilla/mux"
	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/scripts/drive"
	"fhirdest.example/server/bolt"
)

const base = "https://fhir.test/fhir"

// env is both servers over the same resources.
type env struct {
	dir               string
	count             int
	ids               []string // of patients
	ourAddr, bareAddr string
	closers           []func() error
}

func (w *env) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
}

func newEnv(out io.Writer, resources int) (*env, error) {
	dir, err := os.MkdirTemp("", "fhirbench")
	if err != nil {
		return nil, err
	}

	w := &env{dir: dir}
	w.closers = append(w.closers, func() error {
		return os.RemoveAll(dir)
	})
	patients, err := drive.PatientsFor(resources)
	if err != nil {
		return w, err
	}

	for i := range patients {
		w.ids = append(w.ids, sample.PatientID(i))
	}

	if err := w.startOurs(out, patients); err != nil {
		return w, err
	}

	return w, w.startBare(patients)
}

func (w *env) startOurs(out io.Writer, patients int) error {
	path := filepath.Join(w.dir, "fhir.bolt")
	st, err := bolt.OpenFHIR(path, bolt.Options{})
	if err != nil {
		return err
	}

	tokens, err := w.tokens()
	if err != nil {
		return err
	}

	c := fhir.Config{PublicBase: base, Store: st, Authorize: tokens, Now: time.Now,
		Failed: func(_ *http.Request, err error) {
			fmt.Fprintln(out, "failed:", err)
		}}
	start := time.Now()
	loading, err := fhir.New(c)
	if err != nil {
		return err
	}
	if err := loading.Seed(context.Background(), patients); err != nil {
		return err
	}

	loaded := time.Since(start)
	if err := errors.Join(loading.Close(), st.Close()); err != nil {
		return err
	}

	start = time.Now()
	if c.Store, err = openAgain(path, w); err != nil {
		return err
	}

	h, err := fhir.New(c)
	if err != nil {
		return err
	}

	info, err := os.Stat(path)
	if err != nil {
		return err
	}

	fmt.Fprintf(out, "\nloaded %d patients in %.1f s (%d MB), ready again in %.2f s\n", patients,
		loaded.Seconds(),
		info.Size()>>20, time.Since(start).Seconds())
	w.closers = append(w.closers, h.Close)
	w.ourAddr, err = w.serve(h)
	return err
}

func openAgain(path string, w *env) (*bolt.FHIR, error) {
	st, err := bolt.OpenFHIR(path, bolt.Options{})
	if err == nil {
		w.closers = append(w.closers, st.Close)
	}
	return st, err
}

// tokens keeps one token by its SHA-256 in a Bolt file, as the destination
// does, and looks it up for each request.
func (w *env) tokens() (func(*http.Request) (*fhir.Grant, *fhir.Denial), error) {
	db, err := bbolt.Open(filepath.Join(w.dir, "trust.bolt"), 0o600, nil)
	if err != nil {
		return nil, err
	}

	w.closers = append(w.closers, db.Close)
	sum := sha256.Sum256([]byte(drive.Token))
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("tokens"))
		if err != nil {
			return err
		}
		return b.Put(sum[:], []byte("client-1\nsystem/*.cruds"))
	})

	scopes, _ := scope.ParseSet([]string{"system/*.cruds"})
	return func(r *http.Request) (*fhir.Grant, *fhir.Denial) {
		sum := sha256.Sum256([]byte(r.Header.Get("Authorization")[len("Bearer "):]))
		found := false
		db.View(func(tx *bbolt.Tx) error {
			found = tx.Bucket([]byte("tokens")).Get(sum[:]) != nil
			return nil
		})
		if !found {
			return nil, &fhir.Denial{
				Status: 401,
				Text:   "no",
			}
		}

		return &fhir.Grant{
			Scopes:   scopes,
			Client:   "client-1",
			TokenID:  "t1",
			Purposes: []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		}, nil
	}, err
}

func (w *env) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	w.closers = append(w.closers, srv.Close)
	return l.Addr().String(), nil
}

// startBare serves the same bytes by key, in pages of 20, and stores what it
// is given: no token, no parse, no index, no record.
func (w *env) startBare(patients int) error {
	db, err := bbolt.Open(filepath.Join(w.dir, "bare.bolt"), 0o600, &bbolt.Options{
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 1 << (30 + 2*(^uint(0)>>63)),
	})
	if err != nil {
		return err
	}

	w.closers = append(w.closers, db.Close)
	pages := map[string][][]byte{} // patient to the keys of its observations
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("resources"))
		if err != nil {
			return err
		}

		return sample.Generate(patients, func(typ, id string, body []byte) error {
			w.count++
			if typ == "Observation" {
				var o struct{ Subject struct{ Reference string } }
				if err := json.Unmarshal(body, &o); err != nil {
					return err
				}
				pages[o.Subject.Reference] = append(
					pages[o.Subject.Reference],
					[]byte(typ+"/"+id),
				)
			}

			return b.Put([]byte(typ+"/"+id), body)
		})
	})
	if err != nil {
		return err
	}

	w.bareAddr, err = w.serve(bareRoutes(db, pages))
	return err
}

var errNotFound = errors.New("not found")

func bareRoutes(db *bbolt.DB, pages map[string][][]byte) http.Handler {
	r := mux.NewRouter()
	write := func(rw http.ResponseWriter, body []byte, err error) {
		if err != nil {
			http.Error(rw, err.Error(), 500)
			return
		}

		rw.Header().Set("Content-Type", "application/fhir+json")
		rw.Header().Set("Content-Length", fmt.Sprint(len(body)))
		rw.Write(body)
	}
	r.HandleFunc("/fhir/{type}/{id}", func(rw http.ResponseWriter, r *http.Request) {
		var body []byte
		v := mux.Vars(r)
		err := db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("resources")).Get([]byte(v["type"] + "/" + v["id"]))
			if b == nil {
				return errNotFound
			}

			body = append(body, b...)
			return nil
		})
		write(rw, body, err)
	})

	r.HandleFunc("/fhir/{type}", func(rw http.ResponseWriter, r *http.Request) {
		keys := pages["Patient/"+r.URL.Query().Get("patient")]
		body := []byte(`{"resourceType":"Bundle","type":"searchset","entry":[`)
		err := db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("resources"))
			for i, k := range keys[:min(20, len(keys))] {
				if i > 0 {
					body = append(body, ',')
				}
				body = append(body, `{"fullUrl":"`+base+"/"...)
				body = append(
					append(append(append(body, k...), `","resource":`...), b.Get(k)...),
					'}',
				)
			}

			return nil
		})
		write(rw, append(body, `]}`...), err)
	}).Methods("GET")

	r.HandleFunc("/fhir/{type}", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = db.Batch(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("resources")).Put([]byte(mux.Vars(r)["type"]+"/"+
					randomID()), body)
			})
		}

		write(rw, body, err)
	}).Methods("POST")

	r.HandleFunc("/fhir", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = db.Update(func(tx *bbolt.Tx) error {
				for range 10 {
					if err := tx.Bucket([]byte("resources")).Put([]byte("Observation/"+randomID()),
						body[:len(body)/10]); err != nil {
						return err
					}
				}

				return nil
			})
		}

		write(rw, body, err)
	}).Methods("POST")

	return r
}

func randomID() string {
	return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
}
