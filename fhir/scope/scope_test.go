package scope

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Covers: S2-14, S2-15, S2-16, case 113, case 237
func TestParse(t *testing.T) {
	for _, c := range []struct {
		text    string
		typ     string
		allowed Permission
		v1      bool
		query   []Param
	}{
		{"system/Patient.read", "Patient", Read | Search, true, nil},
		{"user/Observation.write", "Observation", Create | Update | Delete, true, nil},
		{"patient/*.*", "*", everything, true, nil},
		{"system/*.rs", "*", Read | Search, false, nil},
		{"system/Patient.cruds", "Patient", everything, false, nil},
		{"system/Patient.s", "Patient", Search, false, nil},
		{"system/Patient.$match", "Patient", Match, false, nil},
		{
			"system/Observation.rs?category=laboratory", "Observation", Read | Search, false,
			[]Param{{"category", "laboratory"}},
		},
		{"patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory", "Observation", Read | Search, false,
			[]Param{{"category", "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"}}},
		{
			"system/Observation.r?category=a%20b&code=x", "Observation", Read, false,
			[]Param{{"category", "a b"}, {"code", "x"}},
		},
	} {
		t.Run(c.text, func(t *testing.T) {
			s, err := Parse(c.text)
			if err != nil {
				t.Errorf("%s: %v", c.text, err)
				return
			}
			if s.Type != c.typ || s.Allowed != c.allowed || s.V1 != c.v1 || !slices.Equal(s.Query, c.query) ||
				s.String() != c.text {
				t.Errorf("%s: got %+v", c.text, s)
			}
		})
	}
}

// Covers: case 113, case 237
func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"system/*.$match", "system/Observation.$match", "user/Patient.$match", "patient/Patient.$match",
		"system/Patient.$match?gender=female", "system/Patient.r$match", "system/Patient.$", "system/Patient.$everything",
		"", "openid", "launch/patient", "system", "system/", "system/Patient", "system/Patient.", "system/.rs",
		"system/Patient.sr", "system/Patient.rr", "system/Patient.rsx", "system/Patient.Read", "system/Patient.read?category=a",
		"system/patient.rs", "system/Patient.rs?", "system/Patient.rs?x", "system/Patient.rs?=y", "system/Patient.rs?x=",
		"system/Patient.rs?category=a&category=b", "system/Patient.rs?_has:Observation:patient:code=1", "system/Patient.rs?_id=1",
		"system/Patient.rs?general-practitioner.name=x", "system/Patient.rs?name:exact=x", "system/Patient.rs?name=%00", "system/Patient.rs?name=%zz",
		"system/Patient.rs?name=\xff", "System/Patient.rs", " system/Patient.rs", "system/Patient.rs\x00", "system/Pat ient.rs", `system/Patient.rs?name="`,
		"system/**.rs", "system/Patient/1.rs", "system/Patient.r s", "system/" + strings.Repeat("A", 600) + ".rs",
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q: accepted as %+v", text, s)
		}
	}

	if _, err := Parse("openid"); !errors.Is(err, ErrNotResource) {
		t.Errorf("openid: %v", err)
	}
	if _, err := Parse("system/Patient.sr"); errors.Is(err, ErrNotResource) {
		t.Errorf("a badly written resource scope must not pass for another kind: %v", err)
	}
}

// Matching is granted by its own scope and by nothing else, whatever the
// registration and the list have.
//
// Covers: S2-14
func TestMatchIsGrantedByName(t *testing.T) {
	served := func(string) bool { return true }
	listed, err := NewCatalogue([]string{"system/*.cruds", "system/*.*", "system/Patient.$match"}, served, nil)
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		asked, registered, want string
	}{
		{"system/Patient.$match", "system/Patient.$match", "system/Patient.$match"},
		{"system/Patient.$match", "system/*.cruds system/Patient.*", ""},
		{"system/Patient.cruds", "system/Patient.$match", ""},
		{"system/*.cruds", "system/Patient.$match", ""},
		{"system/*.cruds", "system/*.cruds system/Patient.$match", "system/*.cruds"},
	} {
		t.Run(c.asked+" of "+c.registered, func(t *testing.T) {
			a := listed.Negotiate(Request{
				Scopes:   []string{c.asked},
				Contexts: []string{"system"},
				Within:   strings.Fields(c.registered),
				Limited:  true,
			})
			if got := strings.Join(a.Granted, " "); got != c.want {
				t.Errorf("granted %q, want %q", got, c.want)
			}
		})
	}

	wide, _ := ParseSet([]string{"system/*.cruds", "system/Patient.*", "system/Patient.read", "system/Patient.rs"})
	if got := wide.For("Patient", Match); len(got) > 0 {
		t.Errorf("%v allow matching", got)
	}
}

func TestFor(t *testing.T) {
	set, others := ParseSet([]string{
		"system/Patient.r", "openid", "system/Observation.rs?category=laboratory", "system/*.s",
		"system/Patient.sr",
	})
	if !slices.Equal(others, []string{"openid", "system/Patient.sr"}) {
		t.Errorf("others: %q", others)
	}

	for _, c := range []struct {
		typ  string
		p    Permission
		want []string
	}{
		{"Patient", Read, []string{"system/Patient.r"}},
		{"Patient", Search, []string{"system/*.s"}},
		{"Patient", Read | Search, nil},
		{"Patient", Create, nil},
		{"Patient", 0, nil},
		{"Observation", Search, []string{"system/Observation.rs?category=laboratory", "system/*.s"}},
		{"Condition", Read, nil},
	} {
		t.Run(c.typ, func(t *testing.T) {
			var got []string
			for _, s := range set.For(c.typ, c.p) {
				got = append(got, s.Raw)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s %v: got %q, want %q", c.typ, c.p, got, c.want)
			}
		})
	}
}

func categoryOnly(_, param string) bool { return param == "category" }

func catalogue(t *testing.T, supported ...string) Catalogue {
	t.Helper()
	c, err := NewCatalogue(supported, func(t string) bool { return t != "Nope" }, categoryOnly)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// negotiated is a request to a server and its answer.
type negotiated struct {
	name    string
	server  Catalogue
	request Request
	want    Answer
}

func registrations(narrow, wide Catalogue) []negotiated {
	system := []string{"system"}
	return []negotiated{
		{
			"as asked",
			narrow,
			Request{Scopes: []string{"system/Patient.rs"}, Contexts: system},
			Answer{Granted: []string{"system/Patient.rs"}},
		},
		{
			"edition 1's form is kept",
			narrow,
			Request{Scopes: []string{"system/Patient.read"}, Contexts: system},
			Answer{Granted: []string{"system/Patient.read"}},
		},
		{
			"in part",
			narrow,
			Request{Scopes: []string{"system/Patient.cruds"}, Contexts: system},
			Answer{Granted: []string{"system/Patient.rs"}},
		},
		{"other types", narrow, Request{Scopes: []string{"system/Patient.r", "system/Condition.r"}, Contexts: system},
			Answer{Granted: []string{"system/Patient.r"}, Refused: []string{"system/Condition.r"}}},
		{
			"nothing in common",
			narrow,
			Request{Scopes: []string{"system/Patient.write"}, Contexts: system},
			Answer{Refused: []string{"system/Patient.write"}},
		},
		{
			"context of another grant",
			narrow,
			Request{Scopes: []string{"user/Patient.r"}, Contexts: system},
			Answer{Refused: []string{"user/Patient.r"}},
		},
		{
			"no context at all",
			narrow,
			Request{Scopes: []string{"system/Patient.r"}},
			Answer{Refused: []string{"system/Patient.r"}},
		},
		{
			"openid is not for machines",
			narrow,
			Request{Scopes: []string{"openid"}, Contexts: system},
			Answer{Refused: []string{"openid"}},
		},
		{
			"openid for people",
			narrow,
			Request{Scopes: []string{"openid", "openid"}, Plain: true},
			Answer{Granted: []string{"openid"}},
		},
		{"wildcard not supported", narrow, Request{
			Scopes:   []string{"system/Patient.rs", "system/*.rs"},
			Contexts: system,
		},
			Answer{Granted: []string{"system/Patient.rs"}, Refused: []string{"system/*.rs"}, Wildcard: "system/*.rs"}},
		{"star of edition 1 is a wildcard", narrow, Request{Scopes: []string{"system/Patient.*"}, Contexts: system},
			Answer{Refused: []string{"system/Patient.*"}, Wildcard: "system/Patient.*"}},
		{
			"wildcard supported, either form",
			wide,
			Request{Scopes: []string{"system/*.read"}, Contexts: system},
			Answer{Granted: []string{"system/*.read"}},
		},
		{
			"wildcard covers types",
			wide,
			Request{Scopes: []string{"system/Condition.r"}, Contexts: system},
			Answer{Granted: []string{"system/Condition.r"}},
		},
		{"wildcard covers no word that is no type", wide, Request{
			Scopes:   []string{"system/Nope.read", "system/Condition.r"},
			Contexts: system,
		},
			Answer{Granted: []string{"system/Condition.r"}, Refused: []string{"system/Nope.read"}}},
		{"granular", narrow, Request{Scopes: []string{"system/Observation.rs?category=laboratory"}, Contexts: system},
			Answer{Granted: []string{"system/Observation.rs?category=laboratory"}}},
		{"granular by what cannot be enforced", narrow, Request{
			Scopes:   []string{"system/Observation.rs?subject=x"},
			Contexts: system,
		},
			Answer{Refused: []string{"system/Observation.rs?subject=x"}}},
		{
			"malformed",
			narrow,
			Request{Scopes: []string{"system/Patient.sr"}, Contexts: system, Plain: true},
			Answer{Refused: []string{"system/Patient.sr"}},
		},
		{"zero catalogue", Catalogue{}, Request{
			Scopes:   []string{"system/Patient.r", "openid"},
			Contexts: system,
			Plain:    true,
		},
			Answer{Refused: []string{"system/Patient.r", "openid"}}},
	}
}

// Covers: S2-03, S2-14, S2-16, case 113
func TestNegotiateRegistration(t *testing.T) {
	narrow := catalogue(t, "openid", "system/Patient.rs", "system/Observation.rs", "user/Patient.r")
	wide := catalogue(t, "system/*.rs", "system/Patient.rs")
	for _, c := range registrations(narrow, wide) {
		t.Run(c.name, func(t *testing.T) {
			got := c.server.Negotiate(c.request)
			if !slices.Equal(got.Granted, c.want.Granted) || !slices.Equal(got.Refused, c.want.Refused) ||
				got.Wildcard != c.want.Wildcard {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// Covers: S2-15, S2-16, case 155
func TestNegotiateWithinRegistration(t *testing.T) {
	server := catalogue(t, "system/*.rs", "system/Patient.rs", "openid")
	for _, c := range []struct{ name, registered, asked, want string }{
		{"the same", "system/Patient.rs", "system/Patient.rs", "system/Patient.rs"},
		{"less", "system/Patient.rs", "system/Patient.r", "system/Patient.r"},
		{"more", "system/Patient.r", "system/Patient.rs", "system/Patient.r"},
		{"other edition", "system/Patient.read", "system/Patient.rs", "system/Patient.rs"},
		{"not registered", "system/Patient.rs", "system/Condition.rs", ""},
		{
			"wildcard expanded",
			"system/Patient.rs system/Condition.r",
			"system/*.rs",
			"system/Patient.rs system/Condition.r",
		},
		{"wildcard of edition 1 expanded", "system/Patient.rs", "system/*.read", "system/Patient.read"},
		{"within a wildcard", "system/*.rs", "system/Condition.r", "system/Condition.r"},
		{
			"granular of a plain one",
			"system/Observation.rs",
			"system/Observation.rs?category=x",
			"system/Observation.rs?category=x",
		},
		{
			"plain of a granular one",
			"system/Observation.rs?category=x",
			"system/Observation.rs",
			"system/Observation.rs?category=x",
		},
		{
			"edition 1 of a granular one",
			"system/Observation.rs?category=x",
			"system/Observation.read",
			"system/Observation.rs?category=x",
		},
		{"another granular one", "system/Observation.rs?category=x", "system/Observation.rs?category=y", ""},
		{"nothing registered", "", "system/Patient.rs", ""},
		{"person's scopes", "system/Patient.rs", "openid offline_access launch user/Patient.rs patient/Patient.rs", ""},
		{"a parameter beyond", "system/Patient.rs", "system/Patient.rs?_id=1", ""},
		{"covered twice", "system/*.rs system/Patient.r", "system/Patient.rs", "system/Patient.rs"},
	} {
		got := server.Negotiate(Request{
			Scopes:   strings.Fields(c.asked),
			Contexts: []string{"system"},
			Within:   strings.Fields(c.registered),
			Limited:  true,
		})
		t.Run(c.name, func(t *testing.T) {
			if strings.Join(got.Granted, " ") != c.want {
				t.Errorf("got %q, want %q", got.Granted, c.want)
			}
		})
	}
}

func TestCatalogueRefusesNonsense(t *testing.T) {
	for _, text := range []string{"system/Patient.sr", "", "a b", "user/x"} {
		if _, err := NewCatalogue([]string{text}, nil, nil); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
}

// FuzzMeet: what is granted is never more than what was registered or asked.
func FuzzMeet(f *testing.F) {
	f.Add("system/*.rs", "system/Patient.cruds")
	f.Add("system/Observation.rs?category=a", "system/Observation.read")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, errX := Parse(a)
		y, errY := Parse(b)
		if errX != nil || errY != nil {
			return
		}

		m, ok := meet(x, y)
		if !ok {
			return
		}

		again, err := Parse(m.String())
		if err != nil {
			t.Fatalf("%s and %s: granted %q, which does not parse: %v", a, b, m.String(), err)
		}
		if !covers(x, again) || !covers(y, again) {
			t.Fatalf("%s and %s: granted %s, which is more", a, b, m.String())
		}
	})
}

// A client that registers a thousand granular scopes of one type and then asks
// for wildcards, or for a thousand half-matching ones, costs some milliseconds.
//
// Covers: case 237, case 155, D-39
func TestNegotiationIsBounded(t *testing.T) {
	c, err := NewCatalogue([]string{
		"system/*.rs",
		"system/*.read",
		"system/Observation.rs",
		"system/Patient.rs",
	}, nil, func(string, string) bool {
		return true
	})
	if err != nil {
		t.Fatal(err)
	}

	var within, pairs, repeats []string
	for i := range 1000 {
		within = append(within, fmt.Sprintf("system/Observation.rs?category=a&code=c%d", i))
		pairs = append(pairs, fmt.Sprintf("system/Observation.rs?category=a&date=d%d", i))
		repeats = append(repeats, "system/*.read")
	}

	for _, ask := range []struct {
		name    string
		scopes  []string
		tooMany bool
		granted int
	}{
		{"what was registered", within, false, 1000},
		{"one of them, often", slices.Repeat(within[:1], 1000), false, 1},
		{"a type", []string{"system/Observation.rs"}, true, 0},
		{"one wildcard, often", repeats, true, 0},
		{"others", pairs, true, 0},
	} {
		t.Run(ask.name, func(t *testing.T) {
			start := time.Now()
			a := c.Negotiate(Request{Scopes: ask.scopes, Contexts: []string{"system"}, Within: within, Limited: true})
			if a.TooMany != ask.tooMany || len(a.Granted) != ask.granted {
				t.Errorf("%s: too many %v, %d granted", ask.name, a.TooMany, len(a.Granted))
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("%s: took %v", ask.name, took)
			}
		})
	}

	few := c.Negotiate(Request{
		Scopes:   []string{"system/*.read", "system/Observation.r"},
		Contexts: []string{"system"},
		Within:   within[:200],
		Limited:  true,
	})
	if few.TooMany || len(few.Granted) != 400 {
		t.Errorf("200 granular scopes: too many %v, %d granted", few.TooMany, len(few.Granted))
	}
}
