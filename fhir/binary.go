package fhir

import (
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// readsBinary reports whether a Binary, or a version of one, is read: it comes
// in whatever format it is in, unless _format asks for another.
func (r *request) readsBinary() bool {
	if len(r.path) == 0 || r.path[0] != "Binary" || r.get("_format") != "" {
		return false
	}
	at := shape(r.path)
	return at == "/Type/id" || at == "/Type/id/_history/version"
}

// namesResource reports whether a media type names a Binary as a resource, not what
// it holds: XML by its general name is a document of some other kind, most often
// (R4 binary.html).
func namesResource(media string) bool {
	return media != "application/xml" && media != "text/xml" && slices.Contains(
		resourceTypes,
		media,
	)
}

// wantsNative reports whether a Binary is asked for as what it holds: by an
// Accept that likes something better than FHIR's formats (R4 binary.html).
func wantsNative(h http.Header) bool {
	var asFHIR, asIs float64
	for _, line := range h.Values("Accept") {
		for _, one := range strings.Split(line, ",") {
			media, _, _ := strings.Cut(one, ";")
			media = strings.ToLower(strings.TrimSpace(media))
			switch {
			case media == "":
			case namesResource(media):
				asFHIR = max(asFHIR, quality(one))
			default:
				asIs = max(asIs, quality(one))
			}
		}
	}

	return asIs > asFHIR
}

// native gives what a Binary holds. It is never shown in place: a browser that
// gets it keeps it as a file.
func native(resp *response) error {
	root, err := tree.ParseStored(resp.body)
	if err != nil {
		return err
	}

	data, err := validate.Base64(root.Get("data").Text())
	if err != nil {
		return fail(http.StatusNotAcceptable, "not-supported",
			"The data of this Binary cannot be given as they are.")
	}

	resp.body = data
	resp.contentType = servedAs(root.Get("contentType").Text())
	if resp.header == nil {
		resp.header = http.Header{}
	}
	resp.header.Set("Content-Disposition", "attachment")
	resp.header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if context := root.At("securityContext", "reference").Text(); context != "" && !hasControl(context) {
		resp.header.Set("X-Security-Context", context)
	}

	return nil
}

// servedKinds are the kinds of media types under which content is given. Others,
// such as multipart and message, hold further contents that a reader might take
// for answers of the server.
var servedKinds = map[string]bool{
	"application": true,
	"audio":       true,
	"font":        true,
	"image":       true,
	"model":       true,
	"text":        true,
	"video":       true,
}

// servedAs returns the media type under which content of a type is given.
func servedAs(contentType string) string {
	media, params, err := mime.ParseMediaType(contentType)
	kind, _, found := strings.Cut(media, "/")
	if err != nil || !found || !servedKinds[kind] {
		return "application/octet-stream"
	}
	return mime.FormatMediaType(media, params)
}

// maxContent bounds what a Binary holds, in bytes, so that it is not too long as a
// resource either: base64 makes four characters of three bytes.
const maxContent = (tree.MaxBytes - 4096) / 4 * 3

// wrapBinary makes a Binary of a body in another format (R4 binary.html).
func wrapBinary(r *request, id string) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil {
		return nil, fail(http.StatusUnsupportedMediaType, "not-supported",
			"The body has no readable Content-Type.")
	}

	if len(r.body) > maxContent {
		return nil, fail(http.StatusRequestEntityTooLarge, "too-long", fmt.Sprintf(
			"The content is longer than %d bytes, the most that a Binary can hold here.", maxContent))
	}

	b := []byte(`{"resourceType":"Binary",`)
	if id != "" {
		b = append(appendString(append(b, `"id":`...), id), ',')
	}
	b = appendString(append(b, `"contentType":`...), mime.FormatMediaType(media, params))
	for _, context := range r.header.Values("X-Security-Context") { // one, if any; an empty one is not valid
		b = append(
			appendString(append(b, `,"securityContext":{"reference":`...), context),
			'}',
		)
	}

	if len(r.body) > 0 {
		b = append(b, `,"data":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.body)
		b = append(b, '"')
	}

	return append(b, '}'), nil
}

// nativeBinary reports whether a request brings a Binary as what it holds.
func nativeBinary(r *request) bool {
	if r.path[0] != "Binary" || r.header.Get("Content-Type") == "" {
		return false
	}
	return !namesResource(mediaOf(r.header)) || bodyType(r.header, resourceTypes...) != nil
}
