package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// outcome is what became of a claim.
type outcome string

const (
	held     outcome = "held"
	failed   outcome = "FAILED"
	notShown outcome = "not shown"
)

// claim is one thing that the demonstration shows. It is data, so that the
// list, the report and the tests read the same.
type claim struct {
	name   string // short, for tests and links
	text   string // what is claimed
	repeat string // how to see it by hand; {dir}, {base}, ... are filled in
	show   func(context.Context, *demo) (detail string, err error)
}

// result is a claim with its outcome.
type result struct {
	claim
	outcome outcome
	detail  string
	start   time.Time
	took    time.Duration
	traces  int // index in demo.traces after the claim
}

// hidden is the error of a claim that cannot be shown here, with the reason.
type hidden struct{ reason string }

func (h hidden) Error() string { return h.reason }

var claims = []claim{
	{"discovery", "discovery verified: the metadata is signed by a certificate of the trust community",
		"originator discover -sandbox {dir}", showDiscovery},
	{"registered", "registered: a client that holds nothing but a certificate of the community",
		"originator register -sandbox {dir} {about}", showRegistered},
	{"token", "token issued for an assertion that the client's key signed",
		"originator token -organization https://example.org/organization", showToken},
	{"data", "data read and searched through both intermediaries",
		"originator get 'Patient?_count=1'", showData},
	{"straight", "the same client, at the same public URLs, dialled straight at the private port, works too: " +
		"trust is not in the gateway",
		"originator get -connect {private} -connect-name {privateName} 'Patient?_count=1'", showStraight},
	{"replaced", "gateway replaced by one with another key: nothing to register again",
		"stop the gateway, put another key pair in {dir}/tls/gateway.pem and gateway.key, start it again; then: " +
			"originator token", showReplaced},
	{"either", "two different gateways are interchangeable, and removing them changes nothing: the same bytes by " +
		"each way",
		"originator get -o FILE Patient/ID before and after the gateway is replaced as above, and with -connect " +
			"{private} -connect-name {privateName}; cmp", showEither},
	{"names", "the gateway has the certificate of the public name, each hop behind it that of its own private name",
		"openssl s_client -connect {private} -servername {privateName} </dev/null | openssl x509 -noout -ext " +
			"subjectAltName", showNames},
	{"copied", "a copied bearer token works for whoever has it, until it expires: it is protected by TLS on " +
		"every hop and by nothing else",
		"curl --cacert {dir}/tls/ca.pem -H 'Authorization: Bearer TOKEN' {base}/Patient", showCopied},
	{"minted", "a gateway can neither get a token with the keys it holds nor alter one that passes",
		"curl as above with one character of TOKEN changed; a token request with an assertion signed by " +
			"{dir}/tls/gateway.key, {dir}/tls/gateway.pem as its x5c", showMinted},
	{"change", "registration changed and cancelled by the client's signed word",
		"originator register -sandbox {dir} {about}; originator cancel", showChange},
	{"at once", "a cancellation is seen at once through the gateways: the next use of the client's token is refused",
		"originator token; originator cancel; originator get 'Patient?_count=1'", showAtOnce},
	{"communities", "another community's certificate cannot touch the registration",
		"community issue -ca {dir}/b -uri URI -out other, with the URI of a client of community a; originator " +
			"register, then cancel, with it", showCommunities},
	{"person", "a person signs in, agrees on a page of the destination, and the client reads that person's record " +
		"and nobody else's, all through both intermediaries",
		"originator login -sandbox {dir}, as a person under users in {dir}/sandbox.json", showPerson},
	{"tiered", "the person may sign in at an identity provider of another community: the destination learns who it " +
		"is, asks for consent itself, and no intermediary sees the password",
		"originator login -sandbox {dir} -idp {idp}, as a person under users in {dir}/sandbox.json", showTiered},
	{"bound", "a token that is bound to the client's key (DPoP) is worthless to whoever copies it on the way",
		"originator token -dpop; curl as above with the TOKEN, and with the DPoP header of an earlier request",
		showBound},
	{"consented", "what a patient grants, denies and withdraws counts at once: read for treatment, refused for " +
		"marketing, an emergency passes, a withdrawn grant is over; each step is in the audit record, disclosures " +
		"are accounted for, and one altered record is found",
		"originator login -sandbox {dir}; PUT a Consent with system/Consent.cruds; as the auditor in " +
			"{dir}/sandbox.json: GET {base}/AuditEvent, GET {base}/Patient/ID/$disclosures; destination audit verify " +
			"-config {dir}/destination.yaml", showConsented},
	{"examined", "a client of somebody else's is assessed as its requests arrive: one that makes no mistake violates " +
		"nothing, one with a wrong audience exactly that requirement",
		"originator lab start -sandbox {dir}; point a client at the base URL that it prints; originator lab report",
		showExamined},
	{"revoked", "revoked certificate refused",
		"community revoke -ca {dir}/a -cert {dir}/clients/a-rsa.pem; originator register -sandbox {dir} -client " +
			"a-rsa {about}", showRevoked},
	{"identical", "every message identical on every hop",
		"gateway compare -hops originator,gateway,delegate,destination {evidence}", showIdentical},
	{"gateway", "the gateway program holds no trust material and links none of udap, jwx, fhir, bbolt",
		"go version -m GATEWAY; go tool nm GATEWAY | grep -E 'fhirdest.example/(udap|fhir)|jwx|bbolt'", showGateway},
}

// byHand fills in where this demonstration stands.
func (d *demo) byHand(repeat string) string {
	var evidence []string
	for _, name := range d.manifest.Evidence[:4] {
		evidence = append(evidence, d.file(name))
	}

	return strings.NewReplacer(
		"{dir}", d.dir, "{about}", "-name Try -contact mailto:you@example.org -scope system/Patient.rs",
		"{base}", d.manifest.PublicBase,
		"{idp}", d.manifest.IDP,
		"{private}", d.manifest.Addresses["private"], "{privateName}", d.privateName(), "{evidence}", strings.Join(
			evidence, " "),
	).Replace(repeat)
}

// showAll shows every claim in order and prints a line for each as it is known.
func (d *demo) showAll(ctx context.Context, list []claim, out io.Writer) []result {
	var results []result
	for _, c := range list {
		r := d.showOne(ctx, c)
		results = append(results, r)
		fmt.Fprintf(out, "%-9s  %s (%s)\n", r.outcome, r.text, r.detail)
		if r.outcome == failed {
			fmt.Fprintf(out, "           by hand: %s\n", d.byHand(r.repeat))
		}
	}

	return results
}

// claimTime bounds one claim.
const claimTime = 3 * time.Minute

func (d *demo) showOne(ctx context.Context, c claim) result {
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	start := d.now()
	detail, err := c.show(ctx, d)
	r := result{
		claim:   c,
		outcome: held,
		detail:  detail,
		start:   start,
		traces:  len(d.traces),
	}

	var h hidden
	switch {
	case errors.As(err, &h):
		r.outcome = notShown
		r.detail = h.reason
	case err != nil:
		r.outcome, r.detail = failed, err.Error()
	}

	r.took = d.now().Sub(start)
	return r
}

// verdict is nil when no claim failed.
func verdict(results []result) error {
	for _, r := range results {
		if r.outcome == failed {
			return errClaims
		}
	}
	return nil
}
