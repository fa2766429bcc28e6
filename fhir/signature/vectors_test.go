package signature_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

var remake = flag.Bool("remake", false, "write testdata/signatures anew, with new keys")

// The time at which the vectors are verified, and that at which they were signed.
const (
	vectorNow  = "2026-11-30T12:00:00Z"
	vectorWhen = "2026-11-01T08:30:00Z"
	vectorURI  = "https://signer.test/app"
)

// authority verifies by the verifier of software statements.
type authority struct {
	*udap.Verifier
	now time.Time
}

func (a authority) Verify(
	ctx context.Context, jws string, content []byte, tr *trace.Trace,
) (*signature.Signer, error) {
	signed, err := a.Detached(ctx, jws, content, udap.Expect{Now: a.now}, tr)
	if err != nil {
		return nil, err
	}
	return &signature.Signer{
		URIs:      signed.URIs,
		NotBefore: signed.Leaf.NotBefore,
		Skew:      time.Minute,
	}, nil
}

func (authority) Sign([]byte, signature.Header) (jws, who string, err error) {
	return "", "", errors.New("not here")
}

// verify verifies one signature of targets by one anchor, and returns the name of the
// check that refused it, or "accepted".
func verify(t *testing.T, at time.Time, anchor *x509.Certificate, element string, targets []*tree.Value) string {
	t.Helper()
	v := signature.Verification{
		Authority: authority{
			now: at,
			Verifier: &udap.Verifier{Communities: []*udap.Community{{
				URI:     "urn:oid:1.2",
				Anchors: []*x509.Certificate{anchor},
				Policy:  udap.Policy{Revocation: udap.RevocationOff},
			}}},
		},
		Now:   at,
		Trace: trace.NewTrace("signature", at),
	}

	list := parse(t, `{"signature":[`+element+`]}`).Get("signature").Items
	err := v.Verify(t.Context(), list, targets, func(signature.Form) error { return nil })
	var refusal *trace.Error
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &refusal) && refusal.Check == v.Trace.RefusedBy:
		return refusal.Check
	}
	t.Errorf("%v, and the trace was refused by %q", err, v.Trace.RefusedBy)
	return ""
}

// Each vector is a file: when it is verified and what must come of it, the anchor, the
// targets, one a line, and the Signature element.
// Covers: FS-501 FS-502 FS-504
func TestSignatureVectors(t *testing.T) {
	if *remake {
		writeVectors(t)
	}
	files, err := filepath.Glob("testdata/signatures/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d vectors: %v", len(files), err)
	}

	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(string(b), "\n---\n")
			var now, want string
			if n, err := fmt.Sscanf(parts[0], "now: %s\nwant: %s", &now, &want); n != 2 || len(parts) != 4 {
				t.Fatalf("no vector: %v", err)
			}
			at, err := time.Parse(time.RFC3339, now)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode([]byte(parts[1]))
			anchor, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}

			var targets []*tree.Value
			for line := range strings.SplitSeq(parts[2], "\n") {
				targets = append(targets, parse(t, line))
			}
			if got := verify(t, at, anchor, parts[3], targets); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// Without an authority, nothing that is signed is accepted.
func TestNothingIsAcceptedUnverified(t *testing.T) {
	v := signature.Verification{Trace: trace.NewTrace("signature", time.Now())}
	list := parse(t, `{"signature":[{}]}`).Get("signature").Items
	if err := v.Verify(t.Context(), list, nil, nil); err == nil || v.Trace.RefusedBy != "signature.supported" {
		t.Error(err)
	}
}

const (
	target1 = `{"resourceType":"Observation","id":"o","meta":{"versionId":"1"},"valueQuantity":{"value":1.50}}`
	target2 = `{ "id":"\u00e9","resourceType":"Patient","text":{"status":"generated"} }`
	target3 = `{"resourceType":"Bundle","id":"b","type":"document","entry":[]}`
)

// maker makes vectors.
type maker struct {
	t      *testing.T
	anchor string // PEM
	id     *certs.Identity
}

func newMaker(t *testing.T, kind certs.KeyKind, uris ...string) maker {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c, err := certs.NewCommunity(certs.CommunityPlan{
		Name:      "Vectors",
		Key:       "p256",
		NotBefore: start,
		Life:      20 * 365 * 24 * time.Hour,
	})
	must(t, err)
	key, err := certs.NewKey(kind)
	must(t, err)
	leaf, err := c.Issuing.Issue(certs.Template{
		CommonName: "signer",
		URIs:       uris,
		NotBefore:  start,
		NotAfter:   start.AddDate(10, 0, 0),
	}, key.Public())
	must(t, err)

	return maker{
		t:      t,
		anchor: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Root.Cert.Raw})),
		id: &certs.Identity{
			Chain: c.Issuing.Chain(leaf),
			Key:   key,
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// element signs targets in a form.
func (m maker) element(form signature.Form, targets ...string) string {
	var all []*tree.Value
	for _, target := range targets {
		all = append(all, parse(m.t, target))
	}
	jws, err := udap.SignDetached(m.id.Key, m.id.Chain, udap.SignatureHeader{
		Canon:    string(form),
		SignedAt: vectorWhen,
	}, signature.Content(all, form))
	must(m.t, err)
	return string(signature.AppendElement(nil, jws, vectorURI, vectorWhen))
}

// header returns an element with another header.
func (m maker) header(element, old, new string) string {
	data := parse(m.t, element).Get("data").Text()
	jws, err := base64.StdEncoding.DecodeString(data)
	must(m.t, err)
	head, sig, _ := strings.Cut(string(jws), "..")
	plain, err := base64.RawURLEncoding.DecodeString(head)
	must(m.t, err)
	changed := strings.Replace(string(plain), old, new, 1)
	if changed == string(plain) {
		m.t.Fatalf("no %s in the header", old)
	}
	jws = []byte(base64.RawURLEncoding.EncodeToString([]byte(changed)) + ".." + sig)
	return strings.Replace(element, data, base64.StdEncoding.EncodeToString(jws), 1)
}

func (m maker) write(name, now, want, element string, targets ...string) {
	text := "now: " + now + "\nwant: " + want + "\n---\n" + m.anchor + "\n---\n" + strings.Join(targets, "\n") +
		"\n---\n" + element
	must(m.t, os.WriteFile(filepath.Join("testdata/signatures", name+".txt"), []byte(text), 0o644))
}

// writeVectors makes good signatures, and of one of them each fault.
func writeVectors(t *testing.T) {
	must(t, os.MkdirAll("testdata/signatures", 0o755))
	for _, kind := range []certs.KeyKind{"p256", "p384", "rsa2048"} {
		m := newMaker(t, kind, vectorURI)
		for _, form := range signature.Forms() {
			target := target1
			if form == signature.Document {
				target = target3
			}
			_, short, _ := strings.Cut(string(form), "#")
			m.write("good-"+string(kind)+"-"+short, vectorNow, "accepted", m.element(form, target), target)
		}
	}

	m, stranger := newMaker(t, "p256", "https://other.test", vectorURI), newMaker(t, "p256", vectorURI)
	good := m.element(signature.Static, target1, target2)
	m.write("good-two", vectorNow, "accepted", good, target1, target2)
	m.write("good-moved", vectorNow, "accepted", good, strings.Replace(target1, `"1"`, `"7"`, 1), target2)
	m.write("good-spaced", vectorNow, "accepted", good, strings.ReplaceAll(target1, ",", " , "), target2)

	edit := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	m.write("bad-decimal", vectorNow, "jws.signature", good, strings.Replace(target1, "1.50", "1.5", 1), target2)
	m.write("bad-order", vectorNow, "jws.signature", good, target2, target1)
	m.write("bad-one-of-two", vectorNow, "jws.signature", good, target1)
	m.write("bad-stranger", vectorNow, "chain.signature", stranger.element(signature.Static, target1), target1)
	m.write("bad-expired", "2036-06-01T00:00:00Z", "chain.validity", good, target1, target2)
	m.write("bad-before-it-was-made", "2026-10-01T00:00:00Z", "signature.when", good, target1, target2)
	m.write("bad-when-is-not-sigT", vectorNow, "signature.when", edit(vectorWhen, "2026-11-01T08:30:01Z"), target1, target2)
	m.write("bad-who", vectorNow, "signature.who", edit(vectorURI, "https://signer.test/ap"), target1, target2)
	m.write("bad-who-reference", vectorNow, "signature.who", edit(`"identifier"`, `"reference":"Device/1","identifierx"`), target1, target2)
	m.write("bad-document-of-observation", vectorNow, "signature.canon", m.element(signature.Document, target1), target1)
	m.write("bad-format", vectorNow, "signature.format", edit("application/jose", "application/signature+xml"), target1, target2)
	m.write("bad-target-format", vectorNow, "signature.targetFormat", edit("fhir+json", "fhir+xml"), target1, target2)
	for name, row := range map[string]struct{ old, new, want string }{
		"crit":      {`{`, `{"crit":["sigT"],`, "jws.header"},
		"b64":       {`{`, `{"b64":false,`, "jws.header"},
		"zip":       {`{`, `{"zip":"DEF",`, "jws.header"},
		"none":      {`"ES256"`, `"none"`, "jws.alg"},
		"HS256":     {`"ES256"`, `"HS256"`, "jws.alg"},
		"twice":     {`{`, `{"alg":"ES256",`, "signature.format"},
		"no-x5c":    {`"x5c"`, `"x5x"`, "x5c.form"},
		"canon":     {`#static`, `#sta`, "signature.canon"},
		"canon-not": {`"canon":"` + string(signature.Static) + `"`, `"canon":null`, "signature.canon"},
		"form":      {`#static`, `#data`, "jws.signature"},
	} {
		m.write("bad-header-"+name, vectorNow, row.want, m.header(good, row.old, row.new), target1, target2)
	}
}
