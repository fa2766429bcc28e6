package server_test

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// holder is a client whose token is bound to a key, before a destination whose
// private base has another path than the public one.
type holder struct {
	*servertest.Session

	destination *servertest.Destination
	private     string // authority
}

func newHolder(t *testing.T, change ...func(*servertest.Env)) *holder {
	t.Helper()
	w := servertest.NewEnv(t)
	l := w.Listen()
	w.Config.Private = strings.Replace(w.Config.Private, "/acme/fhir", "/inner/fhir", 1)
	for _, f := range change {
		f(w)
	}

	d := w.Start(l)
	proofs, err := client.NewProofs()
	if err != nil {
		t.Fatal(err)
	}

	d.Proofs = proofs
	return &holder{
		Session:     d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.read"),
		destination: d,
		private:     "destination.test:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port),
	}
}

// get asks for data with the token and a proof for a URL.
func (h *holder) get(t *testing.T, target, scheme, htu string, header ...string) *http.Response {
	t.Helper()
	proof, err := h.destination.Proofs.Proof("GET", htu, h.Token.Access, time.Now())
	if err != nil {
		t.Fatal(err)
	}

	header = append(header, "Authorization", scheme+" "+h.Token.Access, "DPoP", proof)
	res, _ := h.destination.Get(target, header...)
	return res
}

// A token that is bound to a key is good for its owner alone. Its proofs name the
// public URL of what is asked for, with the path as it was sent, also when the last
// intermediary has replaced authority and path; Host and what forwards claim count
// for nothing.
//
// Covers: ER-22 (authentication)
func TestBoundTokenForData(t *testing.T) {
	h := newHolder(t)
	read, err := h.Client.Get(t.Context(), "Patient?_count=2", h.Token.Access)
	if err != nil || read.Reply.Status != 200 {
		t.Fatalf("the owner: %v %+v", err, read.Reply)
	}

	const patients, public = "/acme/fhir/Patient", "https://fhir.test/acme/fhir/Patient"
	private := []string{"Host", h.private}
	for name, row := range map[string]struct {
		target, scheme, htu string
		header              []string
		want                int
	}{
		"public":                         {patients, "DPoP", public, nil, 200},
		"public, with a query":           {patients + "?_count=1", "DPoP", public, nil, 200},
		"private":                        {"/inner/fhir/Patient", "DPoP", public, private, 200},
		"private, the base":              {"/inner/fhir?_type=Patient", "DPoP", "https://fhir.test/acme/fhir", private, 200},
		"absolute form":                  {public, "dpop", public, nil, 200},
		"an escape, as it was sent":      {"/acme/fhir/Patient/%24everything", "DPoP", public + "/%24everything", nil, 404},
		"htu is the private URL":         {"/inner/fhir/Patient", "DPoP", "https://" + h.private + "/inner/fhir/Patient", private, 401},
		"htu is of another resource":     {patients, "DPoP", public + "/p0001", nil, 401},
		"htu is what a forward claims":   {patients, "DPoP", "https://evil.test/acme/fhir/Patient", []string{"X-Forwarded-Host", "evil.test"}, 401},
		"the token as a bearer token":    {patients, "Bearer", public, nil, 401},
		"the public path, private name":  {"/acme/fhir/Patient", "DPoP", public, private, 404},
		"a bearer token in another case": {patients, "bearer", public, nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			res := h.get(t, row.target, row.scheme, row.htu, row.header...)
			if res.StatusCode != row.want {
				t.Errorf("%d, want %d (%s)", res.StatusCode, row.want, res.Header.Get("WWW-Authenticate"))
			}
			if challenges := strings.Join(res.Header.Values("WWW-Authenticate"), " | "); row.want == 401 &&
				!strings.Contains(challenges, `algs="RS256 ES256 RS384 ES384"`) {
				t.Errorf("challenges %q", challenges)
			}
		})
	}
}

// A copied request is worth nothing, not even whole, with its proof.
func TestCopiedRequestWithProof(t *testing.T) {
	h := newHolder(t)
	const public = "https://fhir.test/acme/fhir/Patient/p0001"
	proof, err := h.destination.Proofs.Proof("GET", public, h.Token.Access, time.Now())
	if err != nil {
		t.Fatal(err)
	}

	want := []int{200, 401, 401}
	for i, status := range want {
		if i == 2 {
			h.destination.Stop()
			h.destination = h.destination.Env.Start(h.destination.Listen())
		}
		res, body := h.destination.Get(public, "Authorization", "DPoP "+h.Token.Access, "DPoP", proof)
		if res.StatusCode != status {
			t.Errorf("time %d: %d, want %d: %s", i+1, res.StatusCode, status, body)
		}
	}
}

// With dpop.nonce: required, clients repeat their requests with the nonce of the
// answer, at the token endpoint and for data.
func TestDPoPNonceRequired(t *testing.T) {
	h := newHolder(t, func(w *servertest.Env) { w.Config.DPoP.Nonce = "required" })
	read, err := h.Client.Get(t.Context(), "Patient?_count=2", h.Token.Access)
	if err != nil || read.Reply.Status != 200 {
		t.Fatalf("with the nonce of the token endpoint: %v %+v", err, read.Reply)
	}

	fresh, err := client.NewProofs()
	if err != nil {
		t.Fatal(err)
	}
	proof, err := fresh.Proof("GET", "https://fhir.test/acme/fhir/Patient", h.Token.Access, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	res, _ := h.destination.Get("/acme/fhir/Patient", "Authorization", "DPoP "+h.Token.Access, "DPoP", proof)
	if res.StatusCode != 401 || res.Header.Get("DPoP-Nonce") == "" ||
		!strings.HasPrefix(res.Header.Get("WWW-Authenticate"), `DPoP error="use_dpop_nonce"`) {
		t.Errorf("without a nonce: %d %v", res.StatusCode, res.Header)
	}
}
