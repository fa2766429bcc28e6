package assess_test

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/udaptest"
)

// rowTest is a row with a client that shows it and one that violates it.
type rowTest struct {
	row      string
	shows    func(s *script)
	violates func(s *script)
	phrase   string // of the message that names the mistake
}

// machine is a client of client_credentials without mistakes.
func machine(s *script) {
	ready(s)
	s.token()
	s.read("/fhir/Patient/1", s.access(), 200, "{}")
}

// ready has registered for client_credentials.
func ready(s *script) {
	s.discover(nil)
	s.register()
}

// person is a client of authorization_code without mistakes.
func person(s *script) {
	readyForPerson(s)
	s.authorize(nil)
	s.redeem()
	s.refresh("refresh-" + s.access()[len("access-"):])
	s.read("/fhir/Patient/1", s.access(), 200, "{}")
}

// readyForPerson has registered for authorization_code.
func readyForPerson(s *script) {
	s.discover(nil)
	s.interactive()
}

// statement registers with one claim changed; a value of nil leaves it out.
func statement(name string, value any) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.claims = change(name, value)
		s.register()
	}
}

// interactive is the same for a client of authorization_code.
func interactive(name string, value any) func(s *script) {
	return func(s *script) {
		s.discover(nil)
		s.claims = change(name, value)
		s.interactive()
	}
}

// assertion asks for a token with one claim changed.
func assertion(name string, value any) func(s *script) {
	return func(s *script) {
		ready(s)
		s.claims = change(name, value)
		s.token()
	}
}

func change(name string, value any) func(c udaptest.Claims) {
	return func(c udaptest.Claims) {
		if value == nil {
			value = udaptest.Absent
		}
		c[name] = value
	}
}

// b2b asks for a token with members of hl7-b2b changed: name, value, ...
func b2b(members ...any) func(s *script) {
	return func(s *script) {
		ready(s)
		s.claims = func(c udaptest.Claims) {
			o := udaptest.B2B()
			for i := 0; i < len(members); i += 2 {
				if members[i+1] == nil {
					delete(o, members[i].(string))
				} else {
					o[members[i].(string)] = members[i+1]
				}
			}
			c["extensions"] = map[string]any{"hl7-b2b": o}
		}
		s.token()
	}
}

// machineForm asks for a token by client_credentials with the form changed.
func machineForm(f func(form url.Values)) func(s *script) {
	return func(s *script) {
		ready(s)
		s.form = f
		s.token()
	}
}

// personForm redeems a code with the form changed.
func personForm(f func(form url.Values)) func(s *script) {
	return func(s *script) {
		readyForPerson(s)
		s.authorize(nil)
		s.form = f
		s.redeem()
	}
}

// asking asks for a code with the query changed.
func asking(f func(q url.Values)) func(s *script) {
	return func(s *script) {
		readyForPerson(s)
		s.authorize(f)
	}
}

func without(name string) func(url.Values) {
	return func(v url.Values) { v.Del(name) }
}

func with(name, value string) func(url.Values) {
	return func(v url.Values) { v.Set(name, value) }
}

// run holds the tests of a table: what shows a row violates no row, and what violates
// it violates no other.
func run(t *testing.T, p conform.Profile, tests []rowTest) {
	t.Helper()
	for _, row := range tests {
		if row.shows != nil {
			t.Run(row.row+" shown", func(t *testing.T) {
				s := newScript(t, p)
				row.shows(s)
				if o := s.outcome(row.row); o.Verdict != conform.Shown {
					t.Errorf("%s: %s", o.Verdict, o.Text)
				}
				if w := s.wrong(); len(w) > 0 {
					t.Errorf("wrong: %q", w)
				}
				s.replay(p)
			})
		}

		if row.violates == nil {
			continue
		}
		t.Run(row.row+" "+row.phrase, func(t *testing.T) {
			s := newScript(t, p)
			row.violates(s)
			o := s.outcome(row.row)
			if o.Verdict != conform.Violated && o.Verdict != conform.Warned {
				t.Errorf("%s: %s", o.Verdict, o.Text)
			}
			if !strings.Contains(o.Text, row.phrase) || row.phrase == "" {
				t.Errorf("the message is %q", o.Text)
			}
			if w := s.wrong(); len(w) != 1 {
				t.Errorf("wrong: %q", w)
			}
			s.replay(p)
		})
	}
}

// Every row that binds a client and can be seen is in a table of these tests: with a
// client that shows it, unless it only forbids, and with one that violates it, unless
// it only permits.
func TestEveryRowHasItsClients(t *testing.T) {
	all := slices.Concat(
		statementRows, metadataRows, headerRows, discoveryRows, assertionRows, contextRows, machineRows,
		personRows, askingRows, useRows, tefcaRows, slipRows,
	)
	shown, violated := map[string]bool{}, map[string]bool{}
	for _, row := range all {
		shown[row.row] = shown[row.row] || row.shows != nil
		violated[row.row] = violated[row.row] || row.violates != nil
	}

	for _, r := range conform.Rows() {
		if !r.Binds(conform.Client, conform.TEFCA) || len(r.Same) > 0 {
			continue
		}
		permits := r.Level == "MAY" || r.Level == "OPTIONAL" || slices.Contains([]string{
			"S1-004", "S1-005", "S1-006", // an algorithm is used, or it is not
			"S1-139", // what a client ignores is never sent
		}, r.ID)

		if r.Hidden == "" && !shown[r.ID] {
			t.Errorf("no client shows %s: %s", r.ID, r.Title)
		}
		if r.Hidden == "" && !violated[r.ID] && !permits {
			t.Errorf("no client violates %s: %s", r.ID, r.Title)
		}
	}
}

// replay adds the exchanges once more, as they are stored, to an Assessor of its own,
// and compares all that it found.
func (s *script) replay(p conform.Profile) {
	s.t.Helper()
	again := newScript(s.t, p).assess
	for i, x := range s.sent {
		stored, err := json.Marshal(x)
		if err != nil {
			s.t.Fatal(err)
		}
		var read conform.Exchange
		if err := json.Unmarshal(stored, &read); err != nil {
			s.t.Fatal(err)
		}
		if got := again.Add(&read); !reflect.DeepEqual(got, s.all[i]) {
			s.t.Errorf("exchange %d: %+v, at first %+v", i+1, got, s.all[i])
		}
	}

	if !reflect.DeepEqual(again.Rows(), s.assess.Rows()) || !reflect.DeepEqual(again.Lanes(), s.assess.Lanes()) {
		s.t.Error("the rows or the lanes differ")
	}
}
