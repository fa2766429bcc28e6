//go:build linux

package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"fhirdest.example/scripts/release/build"
)

// composition is what this test reads of a compose file.
type composition struct {
	Services map[string]service        `yaml:"services"`
	Secrets  map[string]map[string]any `yaml:"secrets"`
}

type service struct {
	Image     string            `yaml:"image"`
	Command   []string          `yaml:"command"`
	Depends   map[string]waited `yaml:"depends_on"`
	Hostname  string            `yaml:"hostname"`
	Networks  []string          `yaml:"networks"`
	Volumes   []string          `yaml:"volumes"`
	Health    health            `yaml:"healthcheck"`
	ReadOnly  bool              `yaml:"read_only"`
	CapDrop   []string          `yaml:"cap_drop"`
	Security  []string          `yaml:"security_opt"`
	Published []string          `yaml:"ports"`
}

type waited struct {
	Condition string `yaml:"condition"`
}

type health struct {
	Test []string `yaml:"test"`
}

// ours reports whether a service runs an image of scripts/image.
func (s service) ours() bool {
	return strings.HasSuffix(s.Image, ":"+version)
}

// readComposition reads the compose file.
func readComposition(t *testing.T) composition {
	t.Helper()
	text, err := os.ReadFile("compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c composition
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) < 6 {
		t.Fatalf("only %d services", len(c.Services))
	}
	return c
}

// TestComposeIsHardened: each service of ours is read-only and without capabilities,
// has a health check or ends by itself, and the gateway alone is published and is in
// no network of a destination.
func TestComposeIsHardened(t *testing.T) {
	for name, s := range readComposition(t).Services {
		if name == "gateway" == slices.Contains(s.Networks, "inside") || name == "gateway" != (len(s.Published) > 0) {
			t.Errorf("%s is in %v, published at %v", name, s.Networks, s.Published)
		}
		if !s.ours() {
			continue
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) ||
			!slices.Equal(s.Security, []string{"no-new-privileges:true"}) {
			t.Errorf("%s: %+v", name, s)
		}
		if name != "migrate" && !slices.Contains(s.Health.Test, "-probe") {
			t.Errorf("%s: its health check is %q", name, s.Health.Test)
		}
	}
}

// TestCompose starts every service of the compose file in network namespaces, with its
// own commands, configurations, user, host name and health check, in the order of its
// dependencies; then a client registers through gateway and delegate, one destination
// is killed, and the client goes on with the other.
//
// The database is this machine's PostgreSQL in place of its image.
func TestCompose(t *testing.T) {
	c := readComposition(t)
	dir := t.TempDir()
	for d := dir; d != filepath.Dir(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		if d != os.TempDir() {
			_ = os.Chmod(d, 0o755)
		}
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	g := build.Go{Root: "../..", Version: version, Commit: "0123abcd"}
	programs := []string{"destination", "gateway", "community", "originator"}
	if err := g.Build(t.Context(), build.Platforms[0], bin, programs...); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "compose"), os.DirFS("compose")); err != nil {
		t.Fatal(err)
	}

	script := composePreamble
	for i, name := range inOrder(t, c) {
		s := c.Services[name]
		script += fmt.Sprintf("\nhost %s %d '%s'\n", name, i+10, strings.Join(s.Networks, " "))
	}
	script += composeMaterial
	for _, name := range inOrder(t, c) {
		script += started(name, c.Services[name])
	}
	script += composeClient
	path := filepath.Join(dir, "script")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}

	args := []string{"unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", path, dir}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "\nthe composition is done\n") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// inOrder returns the names of services, each after those that it depends on.
func inOrder(t *testing.T, c composition) []string {
	t.Helper()
	var out []string
	var add func(name string)
	add = func(name string) {
		s, ok := c.Services[name]
		if !ok {
			t.Fatalf("there is no service %s", name)
		}
		for before := range s.Depends {
			if !slices.Contains(out, before) {
				add(before)
			}
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for name := range c.Services {
		add(name)
	}
	return out
}

// started is the shell text that starts a service and waits until it is healthy, or, for
// one that ends by itself, has ended well.
func started(name string, s service) string {
	if !s.ours() {
		return "\nstart_database\n"
	}
	program, _, _ := strings.Cut(s.Image, ":")
	var mounts []string
	for _, v := range s.Volumes {
		from, to, _ := strings.Cut(strings.TrimSuffix(v, ":ro"), ":")
		mounts = append(mounts, from+":"+to)
	}

	command := s.Command
	if command == nil {
		command = []string{"-config", "/etc/" + program + "/" + program + ".yaml"}
	}
	in := fmt.Sprintf(
		"inside %s '%s' '%s' /%s",
		name,
		s.Hostname,
		strings.Join(mounts, " "),
		program,
	)
	if name == "migrate" {
		return "\n" + in + " " + strings.Join(command, " ") + "\n"
	}
	return fmt.Sprintf(
		"\n%s %s >\"$W/%s.log\" 2>&1 &\necho $! >\"$W/%s.pid\"\nuntil %s %s; do alive %s; sleep 0.2; done\n",
		in,
		strings.Join(command, " "),
		name,
		name,
		strings.TrimSuffix(in, " /"+program),
		strings.Join(s.Health.Test[1:], " "),
		name,
	)
}
