package evidence

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Lines that no hop writes, or another one wrote, are told of and count for nothing.
func TestForgedLines(t *testing.T) {
	h := newHop(t, "gateway", Options{})
	h.add(0, "ask", "ask")
	good, err := os.ReadFile(path([]*hop{h})[0])
	if err != nil {
		t.Fatal(err)
	}
	line := string(good)
	for name, c := range map[string]struct{ old, new string }{
		"of another hop":          {`"hop":"gateway"`, `"hop":"delegate"`},
		"of no hop":               {`"hop":"gateway"`, `"hop":""`},
		"negative":                {`"bytesIn":3`, `"bytesIn":-3`},
		"no bytes with a digest":  {`"bytesIn":3`, `"bytesIn":0`},
		"bytes without a digest":  {`"sha256In":"`, `"sha256In":"","x":"`},
		"half a digest":           {`"sha256Out":"`, `"sha256Out":"00"}`},
		"a request with a status": {`"status":0`, `"status":200`},
		"no direction":            {`"dir":"request"`, `"dir":""`},
		"nothing":                 {line, "{}\n"},
		"no object":               {line, "17\n"},
		"an empty array":          {line, "[]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "gateway.jsonl")
			forged := strings.Replace(line, c.old, c.new, 1)
			if forged == line {
				t.Fatalf("%s: nothing is changed", name)
			}
			if err := os.WriteFile(file, []byte(line+forged+line), 0o600); err != nil {
				t.Fatal(err)
			}

			sum, _ := compare(t, []string{file, file})
			if sum.Messages != 2 || sum.Unreadable != 2 || sum.ExitCode() != 1 {
				t.Errorf("%s: %+v", name, sum)
			}
		})
	}
}

// The two halves of a message that was changed on its way find each other, however many
// that one hop does not have at all stand between them.
func TestHalvesFindEachOther(t *testing.T) {
	hops := []*hop{
		newHop(t, "originator", Options{}),
		newHop(t, "gateway", Options{}),
		newHop(t, "delegate", Options{}),
		newHop(t, "destination", Options{}),
	}

	const many = 3000
	for i, h := range hops {
		changed := "ask"
		if i >= 2 {
			changed, h.n = "asK", many
		}
		h.add(0, changed, changed)
		if h.n = 0; i == 2 {
			continue
		}

		for j := range many {
			h.add(0, fmt.Sprint(j), fmt.Sprint(j))
		}
	}

	changed := 0
	sum, err := Compare(path(hops), func(f *Finding) {
		if f.Hop != "delegate" || f.Verdict != Differs {
			t.Errorf("%+v", f)
		}
		if strings.Contains(f.Text, "delegate received") {
			changed++
		}
	})
	if err != nil || sum.Messages != many+1 || changed != 1 {
		t.Errorf("%+v, %d changed, %v", sum, changed, err)
	}
}
