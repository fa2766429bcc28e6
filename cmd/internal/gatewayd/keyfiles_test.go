package gatewayd

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// TestKeyFiles: a key that others can read is refused, unless keyFiles accepts
// just that.
func TestKeyFiles(t *testing.T) {
	for _, c := range []struct {
		mode   fs.FileMode
		policy string
		read   bool
	}{
		{0o600, "", true},
		{0o400, "refuse", true},
		{0o640, "", false},
		{0o644, "refuse", false},
		{0o440, "group", true},
		{0o640, "group", true},
		{0o660, "group", false},
		{0o444, "group", false},
		{0o644, "warn", true},
	} {
		t.Run(fmt.Sprintf("%04o %s", c.mode, c.policy), func(t *testing.T) {
			h := newEnv(t)
			h.issue("a", "a.example")
			text := strings.NewReplacer("DIAL", "127.0.0.1:1", "EXTRA\n", "", "ADMIN", "127.0.0.1:0").Replace(config)
			if c.policy != "" {
				text = "keyFiles: " + c.policy + "\n" + text
			}
			h.write("x.yaml", text)
			if err := os.Chmod(h.path("a.key"), c.mode); err != nil {
				t.Fatal(err)
			}

			_, err := Read(h.path("x.yaml"))
			if c.read && err != nil {
				t.Error(err)
			}
			if !c.read && (err == nil || !strings.Contains(err.Error(), "can be read by others")) {
				t.Errorf("%v", err)
			}
		})
	}
}
