package assess_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
)

// A hostile exchange among good ones has bounded findings and moves nobody else's; the
// same exchanges lead to the same findings again.
func FuzzAdd(f *testing.F) {
	s := newScript(f, conform.TEFCA)
	machine(s)
	for _, x := range s.sent {
		f.Add(x.Method, x.Target, x.Request.Head, x.Request.Body, x.Status, x.Answer.Head, x.Answer.Body, x.Address)
	}
	f.Add("GET", "/oauth/authorize?state=a&client_id=client-1&scope=udap", []byte("x\r\n:\r\n"), []byte("a=b"), 303,
		[]byte("HTTP/1.1 303\r\nLocation: https://a/?code=1&state=2\r\n"), []byte(`{"link":[{"relation":"next"}]}`), "")
	f.Add("GET", "/fhir/metadata", []byte(nil), []byte(nil), 200, []byte(nil), []byte(nil), "an address that is no UTF-8: \xff")
	good := s.sent

	f.Fuzz(func(t *testing.T, method, target string, head, body []byte, status int, answer, content []byte,
		from string) {
		hostile := conform.Exchange{
			Received: good[1].Received.Add(time.Second),
			Answered: good[1].Received.Add(time.Second),
			Address:  from,
			Method:   method,
			Target:   target,
			Step:     assess.Classify(method, target, body),
			Status:   status,
			Request: conform.Message{
				Head:   head,
				Body:   body,
				Length: int64(len(body)),
			},
			Answer: conform.Message{
				Head:   answer,
				Body:   content,
				Length: int64(len(content)),
			},
		}

		all := []*conform.Exchange{}
		for _, x := range []*conform.Exchange{good[0], good[1], &hostile, &hostile, good[2], &hostile, good[3]} {
			numbered := *x
			numbered.N = uint64(len(all) + 1)
			all = append(all, &numbered)
		}
		assessAll(t, all)
	})
}

// assessAll assesses exchanges twice and compares.
func assessAll(t *testing.T, all []*conform.Exchange) {
	t.Helper()
	setting := assess.Setting{
		Base:    "https://fhir.test/fhir",
		Issuer:  "https://fhir.test/oauth",
		Profile: conform.TEFCA,
	}
	one, two := assess.New(setting), assess.New(setting)
	for _, x := range all {
		first, second := one.Add(x), two.Add(x)
		if !reflect.DeepEqual(first, second) {
			t.Errorf("%+v and %+v", first, second)
		}
		if first.Lane == "" || first.Colour == "" || first.Text == "" {
			t.Errorf("an assessment without a lane, a colour or a reason: %+v", first)
		}

		if _, err := json.Marshal(first); err != nil {
			t.Errorf("it cannot be written: %v", err)
		}

		const most, long = 150, 2600
		if len(first.Findings) > most {
			t.Errorf("%d findings", len(first.Findings))
		}
		for _, f := range first.Findings {
			if len(f.Text)+len(f.Expected)+len(f.Found)+len(f.Remedy) > long || f.Text == "" {
				t.Errorf("a finding of %d bytes, or without text: %+v", len(f.Remedy), f)
			}
		}
	}

	if !reflect.DeepEqual(one.Rows(), two.Rows()) {
		t.Error("the rows differ")
	}
}
