package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/fhir/provenance"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// authority signs with the originator's own key, and verifies by the communities that
// it trusts.
type authority struct {
	id       *certs.Identity
	uri      string
	verifier *udap.Verifier
	now      time.Time
}

func (a *authority) Verify(
	ctx context.Context, jws string, content []byte, tr *trace.Trace,
) (*signature.Signer, error) {
	signed, err := a.verifier.Detached(ctx, jws, content, udap.Expect{Now: a.now}, tr)
	if err != nil {
		return nil, err
	}

	return &signature.Signer{
		URIs:      signed.URIs,
		NotBefore: signed.Leaf.NotBefore,
		Skew:      signed.Community.Policy.ClockSkew(),
	}, nil
}

func (a *authority) Sign(content []byte, h signature.Header) (jws, who string, err error) {
	jws, err = udap.SignDetached(a.id.Key, a.id.Chain, udap.SignatureHeader{
		Canon:      string(h.Canon),
		SignedAt:   h.SignedAt,
		Commitment: h.Commitment,
	}, content)
	return jws, a.uri, err
}

// sign signs the resource of a file: a Bundle gets a signature, another resource a
// Provenance with one.
func sign(_ context.Context, c *call) error {
	c.out.result.Command = c.command
	body, root, err := readResource(c.args[0])
	if err != nil {
		return err
	}
	a, err := c.signer()
	if err != nil {
		return err
	}

	form := signature.FormOf(root)
	if c.form != "" {
		form = signature.Whole + signature.Form(strings.TrimPrefix("#"+c.form, "#whole"))
	}
	bundle := root.Get("resourceType").Text() == "Bundle"
	if !slices.Contains(signature.Forms(), form) || form == signature.Document && !bundle {
		return complaint.New("-canon: "+c.form+" is no form of such a resource",
			"one of whole, data, static, narrative, and for a Bundle document")
	}

	element, who, err := signature.Make(a, root, form, a.now)
	if err != nil {
		return err
	}

	out, err := signed(body, root, who, element, a.now)
	if err != nil {
		return complaint.New(c.args[0]+": "+err.Error(), "store it first, and sign what the destination returns")
	}
	if err := c.body(&client.Reply{Body: out}); err != nil {
		return err
	}
	return c.out.done()
}

// signer returns what signs as the originator.
func (c *call) signer() (*authority, error) {
	id, err := c.identity()
	if err != nil {
		return nil, err
	}
	if id == nil {
		return nil, complaint.New("no key to sign with", "give -cert and -key, or -p12, or -sandbox DIR")
	}

	uris, err := udap.RawSANURIs(id.Chain[0])
	if err != nil || len(uris) == 0 {
		return nil, complaint.New("the certificate has no URI in its Subject Alternative Name",
			"have one issued that has")
	}
	uri := uris[0]
	if c.URI != "" {
		uri = c.URI
	}

	return &authority{
		id:  id,
		uri: uri,
		now: c.now(),
	}, nil
}

// signed puts a signature into a Bundle, and makes a Provenance with it of a resource.
func signed(body []byte, root *tree.Value, who string, element []byte, now time.Time) ([]byte, error) {
	head, err := splice.Read(root)
	if err != nil {
		return nil, err
	}

	if head.Type == "Bundle" {
		edit := splice.Edit{
			From: root.To() - 1,
			To:   root.To() - 1,
			With: `,"signature":` + string(element),
		}
		if old := root.Get("signature"); old != nil {
			edit = splice.Edit{
				From: old.From,
				To:   old.To(),
				With: string(element),
			}
		}
		return splice.Apply(body, edit), nil
	}

	version := root.At("meta", "versionId").Text()
	if !splice.ValidID(head.ID) || !splice.ValidID(version) {
		return nil, fmt.Errorf("the %s has no id and meta.versionId, which the signature must name", head.Type)
	}
	return provenance.Signed(head.Type+"/"+head.ID+"/_history/"+version, who, element, now), nil
}

// verify verifies the signatures of a file: of a Bundle, or of a Provenance, whose
// targets are in further files, in their order.
func verify(ctx context.Context, c *call) error {
	c.out.result.Command = c.command
	_, root, err := readResource(c.args[0])
	if err != nil {
		return err
	}
	signatures := signature.Signatures(root)
	if len(signatures) == 0 {
		return complaint.New(c.args[0]+" is no Bundle or Provenance with a signature", "name the signed file first")
	}

	targets := []*tree.Value{root}
	if root.Get("resourceType").Text() == "Provenance" {
		targets = nil
		for _, name := range c.args[1:] {
			_, target, err := readResource(name)
			if err != nil {
				return err
			}
			targets = append(targets, target)
		}
		if n := len(root.Get("target").Each()); len(targets) != n {
			return complaint.New(fmt.Sprintf("the Provenance has %d targets, and %d files are named", n, len(targets)),
				"name the file of each target, in the order of target")
		}
	}

	cl, err := c.verifier()
	if err != nil {
		return err
	}

	v := signature.Verification{
		Authority: cl,
		Now:       cl.now,
		Trace:     trace.NewTrace("signature", cl.now),
	}
	err = v.Verify(ctx, signatures, targets, func(signature.Form) error { return nil })
	c.out.result.Outcome = v.Trace
	c.out.trace(v.Trace)
	if err != nil {
		return err
	}

	c.out.say("verified  %d signature(s) of %s", len(signatures), c.args[0])
	return c.out.done()
}

// verifier returns what verifies by the communities that the originator trusts.
func (c *call) verifier() (*authority, error) {
	communities, err := c.communities()
	if err != nil {
		return nil, err
	}
	roots, err := c.tlsRoots()
	if err != nil {
		return nil, err
	}
	lists, err := c.revocation(roots)
	if err != nil {
		return nil, err
	}

	return &authority{
		now: c.now(),
		verifier: &udap.Verifier{
			Communities: communities,
			Revocation:  lists,
			Status:      lists,
			Issuers:     lists,
		},
	}, nil
}

// readResource reads a file that holds one resource in JSON.
func readResource(name string) ([]byte, *tree.Value, error) {
	body, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, complaint.New(err.Error(), "name a file with one resource in JSON")
	}
	root, err := tree.Parse(body)
	if err != nil {
		return nil, nil, complaint.New(filepath.Base(name)+": "+err.Error(), "name a file with one resource in JSON")
	}
	return body, root, nil
}
