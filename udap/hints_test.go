package udap_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// A certificate that a client made itself is recognised, whether or not it has
// the marks of a CA.
// Covers: case 046
func TestSelfSignedLeafIsNamed(t *testing.T) {
	self := func(ca bool) func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		return func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			tpl := w.Template("Self")
			tpl.URIs = []string{udaptest.Client1URI}
			tpl.Mutate = func(c *x509.Certificate) {
				c.IsCA, c.KeyUsage = ca, x509.KeyUsageDigitalSignature
				if ca {
					c.KeyUsage |= x509.KeyUsageCertSign
				}
			}

			key := udaptest.Key(t, w.Kind, 33)
			made, err := certs.NewRoot(tpl, key)
			if err != nil {
				t.Fatal(err)
			}

			return &udaptest.Client{URI: udaptest.Client1URI, Key: key, Chain: []*x509.Certificate{made.Cert}}
		}
	}

	leafFault, pathFault := unapproved("chain.leaf"), unapproved("chain.path")
	leafFault.says, pathFault.says = "self-signed CA certificate", "self-signed and no anchor"
	checkClient(t, "a self-signed CA", leafFault, self(true))
	checkClient(t, "a self-signed leaf", pathFault, self(false))
}

// A B2B object that is one level too high is recognised.
// Covers: S1-198
func TestMisplacedB2B(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	good := udaptest.Assertion(clientID, w.Now)
	flat := good.With("extensions", udaptest.Absent)
	for k, v := range udaptest.B2B() {
		flat = flat.With(k, v)
	}

	for _, row := range []struct {
		name   string
		claims udaptest.Claims
		says   string
	}{
		{
			"beside the claims", good.With("extensions", udaptest.Absent).With(udap.B2BKey, udaptest.B2B()),
			"hl7-b2b is a claim of the token itself; move it into the claim extensions",
		},
		{
			"beside empty extensions", good.With("extensions", set{}).With(udap.B2BKey, udaptest.B2B()),
			"hl7-b2b is a claim of the token itself",
		},
		{"its members in extensions", good.With("extensions", udaptest.B2B()), "put them into an object named hl7-b2b"},
		{"its members among the claims", flat, "put them into extensions, in an object named hl7-b2b"},
		{"absent", good.With("extensions", udaptest.Absent), "no extensions"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ant, tr, err := assertion(w, c.Sign(t, row.claims))
			if err != nil {
				t.Fatal(err)
			}
			_, err = udap.ValidateB2B(ant, udap.Policy{}, tr)
			expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, check: "b2b.object", says: row.says})
			if row.name == "absent" && strings.Contains(err.Error(), "put them") {
				t.Errorf("sees an object where there is none: %v", err)
			}
		})
	}
}
