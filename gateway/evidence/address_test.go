package evidence

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"fhirdest.example/gateway/wire"
)

// Two destinations behind one gateway are one hop with two files, and the report names the
// address that the gateway chose for each message.
func TestReportNamesTheAddress(t *testing.T) {
	originator := newHop(t, "originator", Options{})
	gateway := newHop(t, "gateway", Options{})
	first, second := newHop(t, "destination", Options{}), newHop(t, "destination", Options{})
	addresses := []string{"10.0.0.7:9443", "10.0.0.8:9443"}

	for i, d := range []*hop{first, second} {
		ask, answer := "ask "+addresses[i], "answer "+addresses[i]
		via := func(m *wire.Message) { m.Address = addresses[i] }
		for _, h := range []*hop{originator, d} {
			h.add(0, ask, ask)
			h.add(200, answer, answer)
		}
		gateway.put(0, ask, ask, via)
		gateway.put(200, answer, answer, via)
	}

	p := path([]*hop{originator, gateway, first, second})
	var text, js bytes.Buffer
	for out, asJSON := range map[*bytes.Buffer]bool{&text: false, &js: true} {
		if code, err := Report(out, p, asJSON); code != 0 || err != nil {
			t.Fatalf("exit %d, %v:\n%s", code, err, out)
		}
	}

	var doc struct{ Messages []Finding }
	if err := json.Unmarshal(js.Bytes(), &doc); err != nil || len(doc.Messages) != 4 {
		t.Fatalf("%v: %s", err, &js)
	}
	for i, a := range addresses {
		if n := strings.Count(text.String(), "identical via "+a+"\n"); n != 2 {
			t.Errorf("the table names %s %d times:\n%s", a, n, &text)
		}
		for _, f := range doc.Messages[2*i : 2*i+2] {
			if f.Address != a {
				t.Errorf("the message %+v went to %s", f, a)
			}
		}
	}
}
