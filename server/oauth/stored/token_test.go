package stored_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
)

// fullToken has a value in every field.
func fullToken(t *testing.T) oauth.Token {
	t.Helper()
	token := oauth.Token{
		Hash:         oauth.Hash{1},
		ClientID:     "id",
		Community:    "urn:oid:1.2.3",
		Client:       "https://client.test/\"quoted\"\\\u2028\x01ü",
		Epoch:        1<<64 - 1,
		Subject:      "subject",
		Patient:      "p1",
		Confirmation: "thumbprint",
		Grant:        "0a",
		Revision:     7,
		Scope:        []string{"system/Patient.rs", "openid"},
		Purposes:     []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		Extensions: map[string]jsontext.Value{
			"hl7-b2b":      jsontext.Value(`{"version":"1"}`),
			"hl7-b2b-user": jsontext.Value(`{"a":[1,2]}`),
		},
		Issued:  time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC),
		Expires: time.Date(2026, 11, 30, 13, 0, 0, 123456789, time.FixedZone("", 3600)),
	}

	for i, v := 0, reflect.ValueOf(token); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Fatalf("the field %s has no value here", v.Type().Field(i).Name)
		}
	}
	return token
}

// What AppendToken writes is read as what package json writes.
func TestTokensAreWrittenAsJSON(t *testing.T) {
	full := fullToken(t)
	for name, token := range map[string]oauth.Token{
		"every field":                  full,
		"no field":                     {},
		"one scope":                    {Scope: []string{"system/Patient.rs"}, Extensions: map[string]jsontext.Value{}},
		"an extension without a value": {Extensions: map[string]jsontext.Value{"hl7-b2b": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := stored.AppendToken([]byte("before"), &token)
			if err != nil || string(got[:6]) != "before" {
				t.Fatalf("%s, %v", got, err)
			}
			want, err := json.Marshal(token)
			if err != nil {
				t.Fatal(err)
			}

			mine, theirs := jsontext.Value(got[6:]), jsontext.Value(want)
			if err := mine.Canonicalize(); err != nil {
				t.Fatalf("%v in %s", err, got)
			}
			if err := theirs.Canonicalize(); err != nil {
				t.Fatal(err)
			}
			if string(mine) != string(theirs) {
				t.Errorf("wrote %s, want %s", mine, theirs)
			}
		})
	}
}

// What could not be read again is not written.
func TestTokensThatAreNoJSON(t *testing.T) {
	for name, change := range map[string]func(*oauth.Token){
		"a client that is not UTF-8":    func(t *oauth.Token) { t.Client = "\xff" },
		"a scope that is not UTF-8":     func(t *oauth.Token) { t.Scope = []string{"\xff"} },
		"an extension that is not JSON": func(t *oauth.Token) { t.Extensions["hl7-b2b"] = jsontext.Value(`{`) },
	} {
		t.Run(name, func(t *testing.T) {
			token := fullToken(t)
			change(&token)
			if b, err := stored.AppendToken(nil, &token); err == nil {
				t.Errorf("written as %s", b)
			}
		})
	}
}
