package oauth_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/bolt"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// TestMain lets the benchmark's second process be this binary.
func TestMain(m *testing.M) {
	if dir := os.Getenv(benchEnv); dir != "" {
		fmt.Fprintln(os.Stderr, serveBenchmark(dir, os.Getenv(benchMode)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// benchLists hands out the lists that the first process left in files.
type benchLists map[string]*x509.RevocationList

func (l benchLists) CRLs(_ context.Context, q udap.CRLQuery) []udap.CRLAnswer {
	return []udap.CRLAnswer{{URL: "http://crl.test/list", List: l[string(q.Issuer.RawSubject)], Fetched: udaptest.Now}}
}

// benchService opens the store and returns what makes a service over it.
func benchService(dir, mode string) (func() (*oauth.Service, error), error) {
	chain, err := certs.LoadCertificates(filepath.Join(dir, "cas.pem"))
	if err != nil {
		return nil, err
	}

	lists := benchLists{}
	for i, name := range []string{"int.crl", "root.crl"} {
		der, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			lists[string(chain[i].RawSubject)], err = x509.ParseRevocationList(der)
		}
		if err != nil {
			return nil, err
		}
	}

	trust, err := benchStore(dir, mode)
	if err != nil {
		return nil, err
	}

	scopes, err := scopeCatalogue("system/Patient.rs")
	if err != nil {
		return nil, err
	}

	community := &udap.Community{URI: udaptest.CommunityA, Anchors: chain[1:], Intermediates: chain[:1]}
	return func() (*oauth.Service, error) {
		return oauth.New(oauth.Config{
			Base:     udaptest.Base,
			Issuer:   issuer,
			Verifier: &udap.Verifier{Communities: []*udap.Community{community}, Revocation: lists},
			Store:    trust,
			Scopes:   scopes,
			Now:      func() time.Time { return udaptest.Now },
			Record:   func(*trace.Trace) {},
		})
	}, nil
}

// benchStore opens an empty store.
func benchStore(dir, mode string) (oauth.Store, error) {
	if mode != modePostgres {
		options := bolt.Options{NoSync: mode == modeNoSync}
		if mode == modePlain {
			options.MaxBatch = 1
		}
		return bolt.OpenTrust(filepath.Join(dir, mode+".bolt"), options)
	}

	ctx := context.Background()
	server, err := local.Start(ctx, os.Getenv(benchData), local.Options{Durable: true}) // it ends with this process
	if err != nil {
		return nil, err
	}
	c := postgres.Config{URL: server.URL(local.Account)}
	if _, err := postgres.Migrate(ctx, c); err != nil {
		return nil, err
	}
	return postgres.OpenTrust(ctx, c)
}

func serveBenchmark(dir, mode string) error {
	runtime.GOMAXPROCS(runtime.NumCPU() + 2) // the committer otherwise waits behind crypto
	// the live heap is small: at 100 collecting it costs a fifth of all CPU time
	debug.SetGCPercent(400)
	service, err := benchService(dir, mode)
	if err != nil {
		return err
	}

	svc, err := service()
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	svc.Routes(func(u string, h http.Handler) {
		path := strings.TrimPrefix(u, "https://fhir.test")
		switch {
		case mode == modePlain:
			h = freshEachTime(service, path)
		case mode == modeHTTP && strings.HasSuffix(path, "/token"):
			h = constant(`{"access_token":"` + strings.Repeat("x",
				64) + `","token_type":"Bearer","expires_in":3600,"scope":"system/Patient.rs"}`)
		}

		mux.Handle(path, h)
	})

	mux.HandleFunc("/cpu", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, processCPU().Nanoseconds())
	})
	mux.HandleFunc("/profile", func(w http.ResponseWriter, _ *http.Request) {
		pprof.StopCPUProfile()
	})
	if name := os.Getenv("OAUTH_BENCH_PROFILE"); name != "" {
		f, err := os.Create(name)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			return err
		}
	}

	server := httptest.NewUnstartedServer(mux)
	server.StartTLS()
	fmt.Println(server.Listener.Addr())
	select {}
}

func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// constant reads a request and always gives the same answer.
func constant(answer string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			panic(err)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = io.WriteString(w, answer)
	})
}

// freshEachTime answers each request with a service whose verifier remembers
// nothing.
func freshEachTime(service func() (*oauth.Service, error), path string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		svc, err := service()
		if err != nil {
			panic(err)
		}
		svc.Routes(func(u string, h http.Handler) {
			if strings.HasSuffix(u, path) {
				h.ServeHTTP(w, r)
			}
		})
	})
}
