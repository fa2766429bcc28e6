package stored

import (
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/oauth"
)

// AppendToken appends the JSON of a token, for package json to decode. Nothing is stored
// as often, so that package json's encoder with its reflection counts. An error: a text
// is not UTF-8, or an extension is no JSON.
func AppendToken(b []byte, t *oauth.Token) ([]byte, error) {
	w := writer{b: append(b, '{')}
	w.text("clientId", string(t.ClientID))
	w.text("community", string(t.Community))
	w.text("client", string(t.Client))
	w.number("epoch", t.Epoch)

	w.given("subject", t.Subject)
	w.given("patient", t.Patient)
	w.given("confirmation", t.Confirmation)
	w.given("grant", string(t.Grant))
	if t.Revision != 0 {
		w.number("revision", t.Revision)
	}

	w.texts("scope", t.Scope)
	if len(t.Purposes) > 0 {
		w.texts("purposes", t.Purposes)
	}
	if len(t.Extensions) > 0 {
		w.values("extensions", t.Extensions)
	}

	w.time("issued", t.Issued)
	w.time("expires", t.Expires)
	return append(w.b, '}'), w.err
}

// writer appends the members of a JSON object.
type writer struct {
	b   []byte
	err error // the first one
}

// name begins a member. Names are plain ASCII.
func (w *writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, `":`...)
}

func (w *writer) quote(text string) {
	b, err := jsontext.AppendQuote(w.b, text)
	w.b = b
	w.fail(err)
}

func (w *writer) fail(err error) {
	if w.err == nil && err != nil {
		w.err = err
	}
}

func (w *writer) text(name, text string) {
	w.name(name)
	w.quote(text)
}

// given writes a text that is not empty.
func (w *writer) given(name, text string) {
	if text != "" {
		w.text(name, text)
	}
}

func (w *writer) number(name string, n uint64) {
	w.name(name)
	w.b = strconv.AppendUint(w.b, n, 10)
}

func (w *writer) texts(name string, all []string) {
	w.name(name)
	w.b = append(w.b, '[')
	for i, text := range all {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.quote(text)
	}
	w.b = append(w.b, ']')
}

// values writes an object of JSON values; one that is empty is null.
func (w *writer) values(name string, all map[string]jsontext.Value) {
	w.name(name)
	w.b = append(w.b, '{')
	for name, v := range all {
		if v == nil {
			v = jsontext.Value("null")
		}
		if !v.IsValid() {
			w.fail(fmt.Errorf("the member %q is no JSON", name))
		}
		if w.b[len(w.b)-1] != '{' {
			w.b = append(w.b, ',')
		}
		w.quote(name)
		w.b = append(w.b, ':')
		w.b = append(w.b, v...)
	}
	w.b = append(w.b, '}')
}

func (w *writer) time(name string, t time.Time) {
	w.name(name)
	w.b = append(w.b, '"')
	w.b = t.AppendFormat(w.b, time.RFC3339Nano)
	w.b = append(w.b, '"')
}
