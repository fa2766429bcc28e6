package bring_test

import (
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/server/lab/bring"
)

var chainLine = regexp.MustCompile(`(?m)^x5c=.*$`)

// TestShellReadsAnyChain: the program for the shell sends each certificate whole, also
// one of which the base64 has the words that begin and end it.
func TestShellReadsAnyChain(t *testing.T) {
	m := material(t)
	f, ok := m.File("client.sh", bring.Choice{})
	line := chainLine.Find(f.Content)
	if !ok || line == nil {
		t.Fatal("client.sh does not read a chain")
	}

	var chain []byte
	var want []string
	for _, word := range []string{"ENDENDEND+++", "BEGINBEGINBE", "ABCDEFGHIJKL"} {
		text := strings.Repeat(word, 40)
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, pem.EncodeToMemory(&pem.Block{
			Type:  "CERTIFICATE",
			Bytes: der,
		})...)
		want = append(want, `"`+text+`"`)
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "client.pem"), chain, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", string(line)+"\nprintf %s \"$x5c\"")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != strings.Join(want, ",") {
		t.Errorf("%v: %s", err, out)
	}
}
