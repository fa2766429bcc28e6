package signature

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap/trace"
)

// The checks on a signature's element. Those on the JWS and on the signer's certificate
// are the ones of every signed document.
var (
	checkSupported = trace.NewCheck("signature.supported",
		"The server can verify signatures", "FS-504")
	checkFormat = trace.NewCheck("signature.format",
		"The signature is a detached JWS: sigFormat application/jose, data its base64", "FS-501")
	checkTargetFormat = trace.NewCheck("signature.targetFormat",
		"targetFormat is FHIR's JSON", "FS-501")
	checkForm = trace.NewCheck("signature.canon",
		"canon names a canonical form that lasts when the server stores what was signed", "FS-502 FS-503")
	checkTarget = trace.NewCheck("signature.target",
		"Each target names a version that is here and that the client may read", "FS-503")
	checkWhen = trace.NewCheck("signature.when",
		"when is not in the future, not before the certificate, and the same as sigT", "FS-504")
	checkWho = trace.NewCheck("signature.who",
		"who is a URI of the signer's certificate, byte for byte", "FS-504")
	checkCost = trace.NewCheck("signature.cost",
		"What the signatures of one request are over is little enough to verify", "FS-504")
	checkCount = trace.NewCheck("signature.count",
		"There are few enough signatures to verify", "FS-504")
)

// Bounds of what is verified.
const (
	MaxSignatures = 8         // signatures of one resource and of those in it
	MaxTargets    = 100       // targets of one signed Provenance
	maxData       = 256 << 10 // bytes of Signature.data
	maxHeader     = 64 << 10  // bytes of the header of a JWS
)

// The formats of what this package makes and verifies.
const (
	joseFormat = "application/jose"
	jsonFormat = "application/fhir+json"
)

// element is a Signature element, decoded. Nothing about it is verified.
type element struct {
	jws  string
	form Form
	sigT *tree.Value // of the header; nil for none
	when time.Time
	who  string
}

// decode decodes a Signature element, and refuses what is in another format.
func decode(v *tree.Value, tr *trace.Trace) (*element, error) {
	jws, err := decodeData(v, tr)
	if err != nil {
		return nil, err
	}

	header, err := decodeHeader(jws, tr)
	if err != nil {
		return nil, err
	}

	e := &element{
		jws:  jws,
		sigT: header.Get("sigT"),
		who:  whoOf(v.Get("who")),
	}
	if e.form, err = decodeForm(v, header, tr); err != nil {
		return nil, err
	}

	e.when, err = time.Parse(time.RFC3339, v.Get("when").Text())
	if err != nil {
		return nil, tr.Refuse(checkWhen, trace.InvalidRequest, trace.Finding{
			Expected: "an instant",
			Found:    v.Get("when").Text(),
			Err:      err,
		})
	}
	return e, nil
}

// decodeData returns the JWS of a Signature.
func decodeData(v *tree.Value, tr *trace.Trace) (string, error) {
	refuse := func(found string) (string, error) {
		return "", tr.Refuse(checkFormat, trace.InvalidRequest, trace.Finding{
			Expected: "sigFormat " + joseFormat + " and the base64 of a detached JWS in data",
			Found:    found,
			Remedy:   "sign in this format: others, XML-DSig and pictures among them, are not verified here",
		})
	}

	if format := v.Get("sigFormat").Text(); format != joseFormat {
		return refuse("sigFormat " + orNone(format))
	}
	text := v.Get("data").Text()
	if len(text) > maxData {
		return refuse(fmt.Sprintf("data of %d characters", len(text)))
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 {
		return refuse("data that is no base64 of anything")
	}

	tr.Pass(checkFormat, joseFormat, fmt.Sprintf("%d bytes", len(data)))
	return string(data), nil
}

// decodeHeader decodes the header of a JWS far enough to find out what was signed.
func decodeHeader(jws string, tr *trace.Trace) (*tree.Value, error) {
	segment, _, _ := strings.Cut(jws, ".")
	b, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	var header *tree.Value
	if err == nil {
		header, err = tree.ParseWithin(b, tree.Limits{
			Bytes:  maxHeader,
			Values: 1000,
		})
	}

	if err != nil {
		return nil, tr.Refuse(checkFormat, trace.InvalidRequest, trace.Finding{
			Expected: "a JWS whose header is a JSON object",
			Found:    err.Error(),
			Err:      err,
		})
	}
	return header, nil
}

// decodeForm returns the form that canon of the header names, or a parameter of
// targetFormat, or the whole resource where neither does.
func decodeForm(v, header *tree.Value, tr *trace.Trace) (Form, error) {
	format := v.Get("targetFormat").Text()
	media, params, _ := strings.Cut(format, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media != "" && media != jsonFormat && media != "application/json" {
		return "", tr.Refuse(checkTargetFormat, trace.InvalidRequest, trace.Finding{
			Expected: jsonFormat,
			Found:    format,
			Remedy:   "sign the canonical JSON of the resource, also where it is sent as XML",
		})
	}
	tr.Pass(checkTargetFormat, jsonFormat, orNone(format))

	_, named, _ := strings.Cut(params, "canonicalization=")
	named = strings.Trim(strings.TrimSpace(named), `"`)
	canon := header.Get("canon")
	form := Form(canon.Text())
	switch {
	case canon != nil:
	case named != "":
		form = Form(named)
	default:
		form = Whole
	}

	if !slices.Contains(Forms(), form) || named != "" && Form(named) != form {
		return "", tr.Refuse(checkForm, trace.InvalidRequest, trace.Finding{
			Expected: "canon as one of " + formsShown() + ", the same in targetFormat",
			Found:    orNone(canon.Literal()) + " in the header, " + orNone(named) + " in targetFormat",
		})
	}
	return form, nil
}

func formsShown() string {
	var names []string
	for _, f := range Forms() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// whoOf returns the URI that a reference names: by identifier, or as a URL.
func whoOf(who *tree.Value) string {
	if value := who.At("identifier", "value").Text(); value != "" {
		return value
	}
	return who.Get("reference").Text()
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
