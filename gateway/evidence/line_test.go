package evidence

import (
	"cmp"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"fhirdest.example/gateway/wire"
)

func TestLineHasExactlyTheKeys(t *testing.T) {
	h := newHop(t, `ga"te`, Options{})
	h.add(0, "abc", "abc")
	h.add(200, "", "xy")
	h.log.Close()
	b, _ := os.ReadFile(h.path)
	want := `{"time":"2026-01-02T03:04:05.001Z","hop":"ga\"te","route":"acme","conn":"c","seq":1,"dir":"request","method":"GET","status":0,"bytesIn":3,"bytesOut":3,` +
		`"sha256In":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","sha256Out":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}` + "\n"
	first, rest, _ := strings.Cut(string(b), "\n")
	if first+"\n" != want {
		t.Errorf("line is\n%s\nwant\n%s", first, want)
	}

	var l Line
	if err := json.Unmarshal([]byte(rest), &l); err != nil || l.SHA256In != "" || l.BytesOut != 2 ||
		l.Dir != "response" {
		t.Errorf("second line %s: %v", rest, err)
	}
	if info, _ := os.Stat(h.path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestFastAndSlowReadTheSame(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		b := appendMessage(nil, `"gateway"`, &wire.Message{
			Time:     start.Add(123456),
			Conn:     "a-1",
			Seq:      7,
			Route:    "r",
			Response: true,
			Method:   "HEAD",
			Status:   304,
			In:       digest("in"),
			Out:      digest("out"),
			Mapped:   mapped,
		})

		var fast, slow Line
		if !parseFast(b, &fast) {
			t.Fatal("our own line is not read fast")
		}
		if err := json.Unmarshal(b, &slow); err != nil || fast != slow || fast.Mapped != mapped {
			t.Errorf("%v\n%+v\n%+v", err, fast, slow)
		}
	}
}

// A line has the digest of each side, also where both have as many bytes, or one has none.
func TestDigestsInALine(t *testing.T) {
	pairs := map[string][2]string{
		"unchanged":         {"abc", "abc"},
		"of equal length":   {"abc", "abd"},
		"of another length": {"abc", "ab"},
		"nothing went out":  {"abc", ""},
		"nothing came in":   {"", "abc"},
		"nothing":           {"", ""},
	}
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			m := &wire.Message{
				Time: start,
				Conn: "a-1",
				Seq:  1,
				In:   digest(pair[0]),
				Out:  digest(pair[1]),
			}

			var l Line
			if err := json.Unmarshal(appendMessage(nil, `"gateway"`, m), &l); err != nil {
				t.Fatal(err)
			}

			n, in := digestText(cmp.Or(pair[0], "-"))
			k, out := digestText(cmp.Or(pair[1], "-"))
			if l.BytesIn != n || l.BytesOut != k || l.SHA256In != in || l.SHA256Out != out {
				t.Errorf("line has %+v", l)
			}
		})
	}
}

// A line names the address only where the message has one, after everything else.
func TestAddressInALine(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		m := &wire.Message{
			Time:   start,
			Conn:   "a-1",
			Seq:    1,
			In:     digest("in"),
			Out:    digest("in"),
			Mapped: mapped,
		}
		plain := string(appendMessage(nil, `"gateway"`, m))

		m.Address = "[::1]:9443"
		b := appendMessage(nil, `"gateway"`, m)

		var fast, slow Line
		if want := strings.TrimSuffix(plain, "}\n") + `,"address":"[::1]:9443"}` + "\n"; string(b) != want {
			t.Errorf("the line is\n%s\nwant\n%s", b, want)
		}
		if err := json.Unmarshal(b, &slow); err != nil || !parseFast(b, &fast) || fast != slow ||
			fast.Address != m.Address || fast.Mapped != mapped {
			t.Errorf("%v\n%+v\n%+v", err, fast, slow)
		}
	}
}
