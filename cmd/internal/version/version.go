// Package version has the version of the program that it is linked into.
//
// A release writes version and commit into its programs with the linker's -X. A
// program that was built otherwise has what the go command recorded about its
// source, and "devel" for what it did not.
package version

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// Set by the linker: -X fhirdest.example/cmd/internal/version.number=v1.2.3.
var number, commit string

// Asked reports whether the arguments of a program ask for its version.
func Asked(args []string) bool {
	return len(args) == 1 && (args[0] == "-version" || args[0] == "--version")
}

// Print prints one line: program, version, commit, Go's version and the platform.
func Print(w io.Writer, program string) {
	v, c := number, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		v = cmp.Or(v, recorded(info))
		c = cmp.Or(c, revision(info.Settings))
	}

	fmt.Fprintf(
		w,
		"%s %s, commit %s, %s %s/%s\n",
		program,
		cmp.Or(v, "devel"),
		cmp.Or(c, "unknown"),
		runtime.Version(),
		runtime.GOOS,
		runtime.GOARCH,
	)
}

// recorded returns the version of the main module, or "" when there is none.
func recorded(info *debug.BuildInfo) string {
	if info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Version
}

// revision returns the commit from which a program was built, marked when the
// files were not those of the commit.
func revision(settings []debug.BuildSetting) string {
	var commit, modified string
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " with changes"
		}
	}

	if commit == "" {
		return ""
	}
	return commit + modified
}
