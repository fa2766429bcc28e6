package yamlfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fhirdest.example/gateway/complaint"
)

type sample struct {
	Listen string        `yaml:"listen"`
	Wait   time.Duration `yaml:"wait"`
	Count  int           `yaml:"count"`
	On     bool          `yaml:"on"`
	Inner  struct {
		Key string `yaml:"key"`
	} `yaml:"inner"`
	Items []struct {
		Name string   `yaml:"name"`
		List []string `yaml:"list"`
	} `yaml:"items"`
	Secret string `yaml:"-"`
}

func printed(err error) string {
	var b strings.Builder
	complaint.Print(&b, err)
	return b.String()
}

// Covers: case 326
func TestDecodeFillsEveryKind(t *testing.T) {
	var s sample
	err := Decode("a.yaml",
		[]byte("listen: 127.0.0.1:0\nwait: 10s\ncount: 3\non: true\ninner: {key: v}\nitems:\n- name: n\n  list: [a, b]\n"), &s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != "127.0.0.1:0" || s.Wait != 10*time.Second || s.Count != 3 || !s.On || s.Inner.Key != "v" ||
		len(s.Items) != 1 || s.Items[0].Name != "n" || len(s.Items[0].List) != 2 {
		t.Fatalf("decoded %+v", s)
	}
}

// Covers: case 326
func TestComplaints(t *testing.T) {
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown key", "listne: x\n", "error: a.yaml:1: unknown key \"listne\"\nhint: did you mean \"listen\"?"},
		{
			"unknown key below",
			"inner:\n  kee: x\n",
			"error: a.yaml:2: unknown key \"inner.kee\"\nhint: did you mean \"key\"?",
		},
		{"unknown key in a list", "items:\n- name: n\n- nmae: n\n", "error: a.yaml:3: unknown key \"items[1].nmae\""},
		{"field without a key", "Secret: x\n", "error: a.yaml:1: unknown key \"Secret\""},
		{
			"wrong unit",
			"wait: 10 seconds\n",
			"error: a.yaml:1: wait: \"10 seconds\" is not a length of time\nhint: write a number with its unit",
		},
		{"no unit", "wait: 10\n", "error: a.yaml:1: wait: 10 is not a length of time"},
		{"not a number", "count: many\n", "error: a.yaml:1: count: \"many\" is not a whole number"},
		{"not a mapping", "inner: 3\n", "error: a.yaml:1: inner: 3 is not a mapping of key"},
		{"not a list", "items: 3\n", "error: a.yaml:1: items: 3 is not a list"},
		{"duplicate key", "count: 1\ncount: 2\n", "error: a.yaml:2: mapping key \"count\" already defined"},
		{"not YAML", "a: [\n", "error: a.yaml:1:"},
		{"two documents", "count: 1\n---\ncount: 2\n", "error: a.yaml holds more than one YAML document"},
		{"empty", "", "error: a.yaml is empty"},
		{"only a comment", "# nothing\n", "error: a.yaml is empty"},
		{"a scalar", "hello\n", "error: a.yaml:1: the document: \"hello\" is not a mapping"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sample
			got := printed(Decode("a.yaml", []byte(c.yaml), &s))
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %q\nwant %q…", got, c.want)
			}
		})
	}
}

// Covers: case 326
func TestAllComplaintsAtOnceAndTheRestFilledIn(t *testing.T) {
	var s sample
	err := Decode("a.yaml", []byte("listne: x\nwait: soon\ncount: many\nlisten: here\non: maybe\n"), &s)
	if n := strings.Count(printed(err), "error: "); n != 4 {
		t.Errorf("%d complaints, want 4:\n%s", n, printed(err))
	}
	if s.Listen != "here" {
		t.Errorf("listen = %q, want it filled in beside the faults", s.Listen)
	}
}

func TestReadMissingAndTooLong(t *testing.T) {
	var s sample
	dir := t.TempDir()
	err := Read(filepath.Join(dir, "none.yaml"), &s)
	if got := printed(err); !strings.Contains(got, "none.yaml: no such file") || !strings.Contains(got, "hint: ") {
		t.Errorf("missing file: %s", got)
	}
	long := filepath.Join(dir, "long.yaml")
	if err := os.WriteFile(long, []byte(strings.Repeat("# padding\n", maxSize/8)), 0o600); err != nil {
		t.Fatal(err)
	}

	if got := printed(Read(long, &s)); !strings.Contains(got, "is longer than") {
		t.Errorf("long file: %s", got)
	}
}

// Covers: case 328
func TestPrintKeepsOneComplaintOnOneLine(t *testing.T) {
	err := errors.Join(errors.New("a\nb\x1b[31m"), errors.Join(complaint.New("c", "d\u202e")))
	if got, want := printed(err), "error: a b�[31m\nerror: c\nhint: d�\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
