package doctor_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/doctor"
	"fhirdest.example/udap/trace"
)

// fault is one thing that is not in order, and what must be found of it, alone.
type fault struct {
	name    string
	spoil   func(*world)
	check   string
	verdict trace.Verdict
	found   string // part of the finding
}

// header changes answers after the server has made them.
func header(change func(http.Header, *http.Request)) func(*world) {
	return func(w *world) {
		w.handler = func(rw http.ResponseWriter, r *http.Request) {
			wellBehaved(&changed{ResponseWriter: rw, r: r, change: change}, r)
		}
	}
}

type changed struct {
	http.ResponseWriter
	r      *http.Request
	change func(http.Header, *http.Request)
}

func (c *changed) WriteHeader(status int) {
	c.change(c.Header(), c.r)
	c.ResponseWriter.WriteHeader(status)
}

func set(name, value string) func(*world) {
	return header(func(h http.Header, _ *http.Request) {
		h.Set(name, value)
		if value == "" {
			h.Del(name)
		}
	})
}

// says answers one path with a status and a text.
func says(path string, status int, text string) func(*world) {
	return func(w *world) {
		w.handler = func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path || r.Method != http.MethodGet {
				wellBehaved(rw, r)
				return
			}
			wellBehaved(&instead{ResponseWriter: rw, status: status, text: text}, r)
		}
	}
}

type instead struct {
	http.ResponseWriter
	status int
	text   string
}

func (i *instead) WriteHeader(int) { i.ResponseWriter.WriteHeader(i.status) }
func (i *instead) Write(p []byte) (int, error) {
	_, err := io.WriteString(i.ResponseWriter, i.text)
	return len(p), err
}

func redirects(to string) func(*world) {
	return func(w *world) {
		w.plain = func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Location", strings.ReplaceAll(to, "{path}", r.RequestURI))
			rw.WriteHeader(http.StatusMovedPermanently)
		}
	}
}

func mutate(change func(*x509.Certificate)) func(*world) {
	return func(w *world) { w.leaf.Mutate = change }
}

const refused, warned = trace.Refused, trace.Warned

var faultsOfTLS = []fault{
	{"TLS 1.0", func(w *world) {
		w.tls.MinVersion = tls.VersionTLS10
		w.tls.CipherSuites = append(w.tls.CipherSuites, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA)
		w.answer = noneWeakAt12
	}, "tls.versions", refused, "TLS 1.0 and TLS 1.1 too"},
	{"SSL 3.0", func(w *world) {
		w.answer = chooses(0x0300, 0x0035, 0, true)
	}, "tls.versions", refused, "SSL 3.0 too"},
	{"no TLS 1.3", func(w *world) {
		w.tls.MaxVersion = tls.VersionTLS12
	}, "tls.versions", warned, "TLS 1.3 is refused"},
	{"no TLS 1.2", func(w *world) {
		w.tls.MinVersion = tls.VersionTLS13
	}, "tls.versions", warned, "TLS 1.2 is refused"},
	{"CBC and RSA", func(w *world) {
		w.tls.CipherSuites = append(w.tls.CipherSuites, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
			tls.TLS_RSA_WITH_AES_128_GCM_SHA256)
	}, "tls.suites", refused, "TLS_RSA_WITH_AES_128_GCM_SHA256"},
	{"DHE", func(w *world) {
		w.answer = chooses(tls.VersionTLS12, 0x009e, 0, true)
	}, "tls.suites", refused, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"},
	{"anonymous", func(w *world) {
		w.answer = chooses(tls.VersionTLS12, 0x0034, 0, true)
	}, "tls.suites", refused, "TLS_DH_anon_WITH_AES_128_CBC_SHA"},
	{"compression", func(w *world) {
		w.answer = chooses(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 1, true)
	}, "tls.compression", refused, "method 1"},
	{"renegotiation", func(w *world) {
		w.answer = chooses(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 0, false)
	}, "tls.renegotiation", refused, "none"},
	{"HTTP/2", func(w *world) { w.tls.NextProtos = []string{"h2", "http/1.1"} }, "tls.alpn", refused, "h2"},
	{"no ALPN", func(w *world) { w.tls.NextProtos = nil }, "tls.alpn", warned, "no protocol"},
	{"plain HTTP beside TLS", func(w *world) { w.bare = true }, "http.plain", refused, "401"},
}

var faultsOfCertificates = []fault{
	{"a short key", func(w *world) {
		w.tb.(*testing.T).Setenv("GODEBUG", "rsa1024min=0")
		k, err := rsa.GenerateKey(rand.Reader, 1024)
		w.must(err)
		w.key = k
	}, "tls.key", refused, "RSA 1024"},
	{"SHA-1", mutate(func(c *x509.Certificate) {
		c.SignatureAlgorithm = x509.SHA1WithRSA
	}), "tls.signature", refused, "SHA1-RSA"},
	{"no intermediate", func(w *world) {
		w.chain = func(leaf, _ *x509.Certificate, _ *certs.CA) []*x509.Certificate {
			return []*x509.Certificate{leaf}
		}
	}, "tls.chain", refused, "CN=issuer"},
	{"out of order", func(w *world) {
		w.chain = func(leaf, issuer *x509.Certificate, root *certs.CA) []*x509.Certificate {
			return []*x509.Certificate{leaf, root.Cert, issuer}
		}
	}, "tls.chain", refused, "CN=leaf, then CN=root"},
	{"an unknown root", func(w *world) {
		other, err := certs.NewRoot(certs.Template{
			CommonName: "other",
			NotBefore:  w.issuer.NotBefore,
			NotAfter:   w.issuer.NotAfter,
		}, keys()[1])
		w.must(err)
		w.known = other.Cert
	}, "tls.chain", refused, "not known"},
	{"not for servers", mutate(func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}), "tls.chain", refused, "usage"},
	{"another name", func(w *world) { w.leaf.DNS = []string{"other.test"} }, "tls.names", refused, "other.test"},
	{"a common name", func(w *world) {
		w.leaf.DNS, w.leaf.CommonName = nil, host
	}, "tls.names", refused, "no names"},
	{"expired", func(w *world) {
		w.leaf.NotBefore, w.leaf.NotAfter = w.leaf.NotBefore.AddDate(0, -3, 0), time.Now().Add(-time.Minute)
	}, "tls.dates", refused, "CN=leaf counts from"},
	{"not yet", func(w *world) {
		w.leaf.NotBefore = time.Now().Add(time.Hour)
	}, "tls.dates", refused, "CN=leaf counts from"},
	{"an expired issuer", func(w *world) {
		w.issuer.NotBefore, w.issuer.NotAfter = w.leaf.NotBefore.AddDate(-1, 0, 0), time.Now().Add(-time.Minute)
		w.leaf.NotBefore = w.leaf.NotBefore.AddDate(0, -1, 0)
	}, "tls.dates", refused, "CN=issuer counts from"},
	{"nearing its end", func(w *world) {
		w.leaf.NotAfter = time.Now().Add(20*24*time.Hour + time.Minute)
		w.leaf.NotBefore = w.leaf.NotBefore.AddDate(0, -3, 0)
	}, "tls.dates", warned, "20 days"},
	{"no revocation", func(w *world) { w.leaf.CRL = nil }, "tls.revocation", warned, "neither"},
	{"must staple", mutate(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
			Id:    asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24},
			Value: []byte{0x30, 3, 2, 1, 5},
		})
	}), "tls.revocation", refused, "none"},
}

var faultsOfHTTP = []fault{
	{"no HSTS", set("Strict-Transport-Security", ""), "http.hsts", refused, "the metadata: none"},
	{"a short HSTS", set("Strict-Transport-Security", "max-age=300"), "http.hsts", refused, "max-age=300"},
	{"HSTS on good answers only", header(func(h http.Header, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/metadata") {
			h.Del("Strict-Transport-Security")
		}
	}), "http.hsts", refused, "no such path: none"},
	{"sniffing", set("X-Content-Type-Options", ""), "http.headers", refused, "no X-Content-Type-Options"},
	{"no policy", set("Content-Security-Policy", ""), "http.headers", refused, "no Content-Security-Policy"},
	{"a cookie", header(func(h http.Header, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/acme/fhir/") {
			h.Set("Set-Cookie", "session=1; Secure")
		}
	}), "http.cookies", refused, "session"},
	{"Server", set("Server", "Apache"), "http.server", refused, "Server: Apache"},
	{"X-Powered-By", set("X-Powered-By", "PHP/8"), "http.server", refused, "X-Powered-By: PHP/8"},
	{"a stack of Go", says("/acme/fhir/Patient/doctor", 401, "goroutine 7 [running]:"), "http.disclosure", refused,
		"goroutine 7"},
	{"a stack of Java", says("/acme/fhir/Patient/doctor", 401, "java.lang.NullPointerException"), "http.disclosure",
		refused, "NullPointerException"},
	{"a path", says("/doctor/finds/nothing", 404, "no file /var/www/doctor"), "http.disclosure", refused, "/var/www"},
	{"a version", says("/doctor/finds/nothing", 404, "<hr><center>nginx/1.2</center>"), "http.disclosure", refused,
		"nginx/1"},
	{"an address", says("/doctor/finds/nothing", 404, "upstream 10.1.2.3 failed"), "http.disclosure", refused,
		"10.1.2.3"},
	{"a private name", says("/acme/fhir/metadata", 200, `{"url":"https://inner.test/fhir"}`), "http.hidden", refused,
		"inner.test"},
	{"open data", says("/acme/fhir/Patient", 200, "{}"), "http.anonymous", refused, "200"},
	{"a failure", says("/acme/fhir/Patient/doctor", 500, "{}"), "http.answers", refused, "500 for a read"},
	{"a head of 8 MB", set("X-Long", strings.Repeat("x", 8<<20)), "http.answers", refused, "unexpected EOF"},
	{"TRACE", func(w *world) {
		w.handler = func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodTrace {
				wellBehaved(rw, r)
				return
			}
			wellBehaved(&instead{ResponseWriter: rw, status: 200, text: "TRACE"}, r)
		}
	}, "http.trace", refused, "200"},
	{"any origin", set("Access-Control-Allow-Origin", "*"), "http.origins", refused, `"*" for a page`},
	{"credentials", set("Access-Control-Allow-Credentials", "true"), "http.origins", refused, `credentials "true"`},
	{"metadata for nobody", set("Access-Control-Allow-Origin", ""), "http.origins", warned, `""`},
	{"a clock ahead", set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), "http.clock", refused,
		"from ours"},
	{"a clock behind", func(w *world) {
		header(func(h http.Header, _ *http.Request) {
			h.Set("Date", time.Now().Add(-30*time.Second).UTC().Format(http.TimeFormat))
		})(w)
	}, "http.clock", warned, "s from ours"},
	{"a redirect with the path", redirects("https://fhir.test{path}"), "http.redirect", refused, "doctor-asks"},
	{"a redirect to http", redirects("http://fhir.test/"), "http.redirect", refused, "http://fhir.test/"},
	{"a redirect elsewhere", redirects("https://other.test/"), "http.redirect", refused, "other.test"},
	{"data at port 80", func(w *world) {
		w.plain = func(http.ResponseWriter, *http.Request) {}
	}, "http.redirect", refused,
		"200 OK"},
}

// Each fault is found, and nothing else.
//
// Covers: FS-101, FS-102, FS-104, FS-105
func TestEachFaultIsFound(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range slices.Concat(faultsOfTLS, faultsOfCertificates, faultsOfHTTP) {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t)
			w.hidden = []string{"inner.test"}
			f.spoil(w)
			r := w.examine()

			var found []string
			for _, s := range r.Trace.Steps {
				if s.Verdict == refused || s.Verdict == warned {
					found = append(found, fmt.Sprintf("%s %s: %s", s.Check, s.Verdict, s.Found))
				}
				if s.Check == f.check && s.Verdict == f.verdict && (!strings.Contains(s.Found, f.found) ||
					s.Remedy == "") {
					t.Errorf("found %q, remedy %q", s.Found, s.Remedy)
				}
			}

			want := f.check + " " + string(f.verdict)
			if len(found) != 1 || !strings.HasPrefix(found[0], want) {
				t.Errorf("want %s, found:\n%s", want, strings.Join(found, "\n"))
			}
			if grade := map[trace.Verdict]doctor.Grade{
				refused: doctor.Poor,
				warned:  doctor.Adequate,
			}; r.Grade != grade[f.verdict] {
				t.Errorf("the grade is %s", r.Grade)
			}

			seen[f.check] = true
		})
	}

	for _, c := range trace.Checks() {
		ours := strings.HasPrefix(c.Name, "tls.") || strings.HasPrefix(c.Name, "http.")
		if ours && !seen[c.Name] && c.Name != "tls.reach" {
			t.Errorf("no fault shows the check %s", c.Name)
		}
	}
}
