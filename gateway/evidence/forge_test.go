package evidence

import (
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
	}
}
