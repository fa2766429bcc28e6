// Package build builds the programs for a platform, so that two builds of one
// commit are equal byte for byte wherever they are made.
//
// Nothing of the machine is in a program: no path, no time, no C library, no
// setting of the account that builds.
package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs are the commands that a release has, in the order of their names.
var Programs = []string{
	"community",
	"destination",
	"gateway",
	"originator",
	"sandbox",
}

// module is the path of the module, to which the linker's -X refers.
const module = "fhirdest.example"

// Platform is an operating system and a processor, as Go names them.
type Platform struct {
	OS, Arch string
}

// Platforms are those that a release is made for.
var Platforms = []Platform{
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"windows", "amd64"},
}

// ParsePlatform parses "linux/amd64". It refuses a platform that no release is made
// for.
func ParsePlatform(text string) (Platform, error) {
	for _, p := range Platforms {
		if text == p.OS+"/"+p.Arch {
			return p, nil
		}
	}
	return Platform{}, fmt.Errorf("no release is made for %q", text)
}

// String returns the platform as it is in the names of files: "linux-amd64".
func (p Platform) String() string {
	return p.OS + "-" + p.Arch
}

// File returns the name of a program's file on the platform.
func (p Platform) File(program string) string {
	if p.OS == "windows" {
		return program + ".exe"
	}
	return program
}

// Go builds programs from the source at Root.
type Go struct {
	Root    string // the directory of go.mod
	Version string // "v1.2.3"
	Commit  string // a hash
	Cache   string // the go command's build cache; "": the account's
}

// Build builds programs for a platform into a directory that exists, under the
// names that File returns.
func (g Go) Build(ctx context.Context, p Platform, into string, programs ...string) error {
	into, err := filepath.Abs(into)
	if err != nil {
		return err
	}

	const names = module + "/cmd/internal/version."
	args := []string{
		"build",
		"-trimpath",
		"-buildvcs=false",
		"-ldflags",
		"-s -w -X " + names + "number=" + g.Version + " -X " + names + "commit=" + g.Commit,
		"-o",
		into + string(filepath.Separator),
	}
	for _, name := range programs {
		args = append(args, "./cmd/"+name)
	}

	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = g.Root
	c.Env = g.environment(p)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build for %s: %w\n%s", p, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// environment is the account's, with everything fixed that changes what is built.
func (g Go) environment(p Platform) []string {
	env := append(os.Environ(),
		"CGO_ENABLED=0",
		"GOOS="+p.OS,
		"GOARCH="+p.Arch,
		"GOAMD64=v1",
		"GOARM64=v8.0",
		"GOEXPERIMENT=",
		"GOFIPS140=off",
		"GOFLAGS=-mod=readonly",
		"GOWORK=off",
	)
	if g.Cache != "" {
		env = append(env, "GOCACHE="+g.Cache)
	}
	return env
}
