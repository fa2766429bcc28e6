package udap

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/udap/internal/vectors"
)

// leads runs our search for paths over DER certificates, leaf first.
func leads(
	anchor []byte, chain [][]byte, p Policy, now time.Time,
) (community *Community, paths [][]*x509.Certificate, err error) {
	root, err := x509.ParseCertificate(anchor)
	if err != nil {
		return nil, nil, err
	}

	var certs []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, err
		}
		certs = append(certs, c)
	}

	community = &Community{Anchors: []*x509.Certificate{root}, Policy: p}
	v := &Verifier{}
	s := &search{community: community, now: now, pool: certs[1:], sigs: &signatures{v: v}}
	paths, f := findPaths(s, certs[0])
	if f != nil {
		return community, nil, fmt.Errorf("%s: %s", f.check.Name, f.found)
	}

	return community, paths, nil
}

// The 81 path-building cases of BetterTLS, which its own program makes anew.
// Covers: case 042, case 043, case 048, case 053, case 055, case 078
func TestBetterTLSPathBuilding(t *testing.T) {
	out := filepath.Join(t.TempDir(), "cases.json")
	cmd := exec.Command("go", "run", "./test-suites/cmd/bettertls", "export-tests", "--suite", "pathbuilding", "--out",
		out)
	cmd.Dir = vectors.ModuleDir(t, vectors.BetterTLS)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var file struct {
		TrustRoot []byte
		Suites    map[string]struct {
			TestCases []struct {
				ID           int
				Certificates [][]byte
				Expected     string
			}
		}
	}
	vectors.Read(t, out, &file)

	// The suite is about TLS servers, so a bad key usage is told by serverAuth.
	policy := Policy{ExtendedKeyUsages: []string{"1.3.6.1.5.5.7.3.1"}}
	var d vectors.Differences
	for _, c := range file.Suites["pathbuilding"].TestCases {
		_, paths, err := leads(file.TrustRoot, c.Certificates, policy, time.Now())
		if c.Expected == "ACCEPT" && err != nil {
			t.Logf("case %d: %v", c.ID, err)
		}
		d.Record(fmt.Sprintf("pathbuilding %d", c.ID), c.Expected == "ACCEPT", len(paths) > 0)
	}

	d.Compare(t, "bettertls", 81)
}

// pkitsPolicies are the names of policies in the vectors.
var pkitsPolicies = map[string]string{
	"NIST-test-policy-1": "2.16.840.1.101.3.2.1.48.1", "NIST-test-policy-2": "2.16.840.1.101.3.2.1.48.2",
	"NIST-test-policy-3": "2.16.840.1.101.3.2.1.48.3", "NIST-test-policy-6": "2.16.840.1.101.3.2.1.48.6",
}

// The vectors of NIST PKITS that stand in Go's source, which has no lists: the
// sections on revocation must all be refused for want of one.
// Covers: case 044, case 048, case 052, case 053, case 064, case 067, case 069, case 071, case 072, case 074
func TestPKITS(t *testing.T) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "src", "crypto", "x509", "testdata", "nist-pkits")
	var suite []struct {
		Name                        string
		CertPath                    []string
		InitialPolicySet            []string
		InitialExplicitPolicy       bool
		InitialPolicyMappingInhibit bool
		InitialAnyPolicyInhibit     bool
		ShouldValidate              bool
	}
	vectors.Read(t, filepath.Join(dir, "vectors.json"), &suite)

	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	var d vectors.Differences
	for _, v := range suite {
		var chain [][]byte
		for _, name := range v.CertPath {
			der, err := os.ReadFile(filepath.Join(dir, "certs", name))
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, der)
		}

		anchor, rest := chain[0], chain[1:]
		slices.Reverse(rest)
		p := Policy{}

		for _, name := range v.InitialPolicySet {
			if oid := pkitsPolicies[name]; oid != "" {
				p.CertificatePolicies = append(p.CertificatePolicies, oid)
			}
		}

		community, paths, err := leads(anchor, rest, p, now)
		if err != nil && v.ShouldValidate {
			t.Logf("%s: %v", v.Name, err)
		}
		ok := len(paths) > 0
		if ok && !v.ShouldValidate && revocationSection(v.Name) {
			_, f, unknown := (&Verifier{}).revocationOf(t.Context(), community, paths[0], now)
			ok = f == nil || !unknown
		}

		d.Record(v.Name, v.ShouldValidate, ok)
	}

	d.Compare(t, "pkits", 200)
}

// revocationSection: 4.4, 4.5 (lists signed with another key), 4.14 and 4.15.
func revocationSection(name string) bool {
	for _, s := range []string{"4.4.", "4.5.", "4.7.", "4.14.", "4.15."} {
		if strings.HasPrefix(name, s) {
			return true
		}
	}
	return false
}
