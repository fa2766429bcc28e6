// Command release makes a release: for each platform one archive of all programs
// with the documents that explain them and the licences of what they contain, a
// bill of materials, and the checksums of all of these.
//
// Two releases of one commit are equal byte for byte, in whatever directory and by
// whatever account they are made, with the same version of Go.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"fhirdest.example/scripts/release/build"
)

const usage = `usage: go run ./scripts/release -out DIR [flags]

Builds every program for linux, macOS and Windows, and writes into DIR one
archive a platform, its bill of materials (CycloneDX, JSON), and SHA256SUMS.

  -out DIR           a directory, which may be made; files of the same names in it
                     are replaced
  -version VERSION   as v1.2.3; default: the tag of the commit, else v0.0.0 with
                     its time and hash
  -platforms LIST    as linux/amd64,windows/amd64; default: all
  -source DIR        the checkout to build (default: the current directory)

Example:
  go run ./scripts/release -out /tmp/release -version v1.2.3
  cd /tmp/release && sha256sum -c SHA256SUMS
`

// sumsFile is the name of the file of checksums, in the form of sha256sum.
const sumsFile = "SHA256SUMS"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are those of the command line.
type options struct {
	out, version, platforms, source string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("release", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.out, "out", "", "")
	f.StringVar(&o.version, "version", "", "")
	f.StringVar(&o.platforms, "platforms", "", "")
	f.StringVar(&o.source, "source", ".", "")

	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return 0
	case err == nil && (o.out == "" || f.NArg() > 0):
		err = errors.New("write -out DIR, and nothing but flags")
	}
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\nhint: -h shows the flags\n", err)
		return 2
	}

	if err := release(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	return 0
}

func release(ctx context.Context, o options, progress io.Writer) error {
	platforms, err := chosen(o.platforms)
	if err != nil {
		return err
	}
	source, err := build.Describe(ctx, o.source, o.version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}

	var names []string
	for _, p := range platforms {
		fmt.Fprintf(progress, "%s %s\n", source.Version, p)
		made, err := one(ctx, o, source, p)
		if err != nil {
			return err
		}
		names = append(names, made...)
	}
	return writeSums(o.out, names)
}

func chosen(list string) ([]build.Platform, error) {
	if list == "" {
		return build.Platforms, nil
	}

	var out []build.Platform
	for text := range strings.SplitSeq(list, ",") {
		p, err := build.ParsePlatform(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// one writes what a release has for one platform, and returns the names of the
// files.
func one(ctx context.Context, o options, s build.Source, p build.Platform) ([]string, error) {
	programs, err := programsFor(ctx, o.source, s, p)
	if err != nil {
		return nil, err
	}
	bill, err := describe(s, p, programs)
	if err != nil {
		return nil, err
	}
	files, err := contents(ctx, o.source, p, programs)
	if err != nil {
		return nil, err
	}

	base := "fhirdest-" + s.Version + "-" + p.String()
	for i := range files {
		files[i].name = base + "/" + files[i].name
	}
	sortFiles(files)

	name, pack := base+".tar.gz", tarball
	if p.OS == "windows" {
		name, pack = base+".zip", zipped
	}
	err = writeArchive(filepath.Join(o.out, name), files, s.Time, pack)
	if err != nil {
		return nil, err
	}
	return []string{name, base + ".cdx.json"},
		os.WriteFile(filepath.Join(o.out, base+".cdx.json"), bill, modeText)
}

// programsFor builds all programs for a platform and reads them.
func programsFor(ctx context.Context, root string, s build.Source, p build.Platform) ([]program, error) {
	dir, err := os.MkdirTemp("", "release")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	g := build.Go{
		Root:    root,
		Version: s.Version,
		Commit:  s.Commit,
	}
	if err := g.Build(ctx, p, dir, build.Programs...); err != nil {
		return nil, err
	}

	var out []program
	for _, name := range build.Programs {
		data, err := os.ReadFile(filepath.Join(dir, p.File(name)))
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, program{name: name, data: data, info: info})
	}
	return out, nil
}

// documents are the files of the source that explain the programs, by the paths at
// which their links expect them.
var documents = []string{
	"LICENSE",
	"README.md",
	"cmd/destination/README.md",
	"cmd/gateway/README.md",
	"scripts/README.md",
	"scripts/deploy/*",
	"scripts/deploy/*/*",
}

// contents returns the files of an archive: programs, documents and licences.
func contents(
	ctx context.Context,
	root string,
	p build.Platform,
	programs []program,
) ([]file, error) {
	var out []file
	linked := map[string]bool{}
	for _, one := range programs {
		out = append(out, file{p.File(one.name), one.data, modeProgram})
		for _, m := range one.info.Deps {
			linked[actual(m).Path] = true
		}
	}

	texts, err := licenses(ctx, root, slices.Sorted(maps.Keys(linked)))
	if err != nil {
		return nil, err
	}
	out = append(out, file{"LICENSES-OF-MODULES.txt", texts, modeText})
	explained, err := explanations(root)
	return append(out, explained...), err
}

// explanations returns the documents. A pattern that matches nothing is an error, but
// for that of directories below, which there may be none of.
func explanations(root string) ([]file, error) {
	var out []file
	for _, pattern := range documents {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		if len(paths) == 0 && !strings.HasSuffix(pattern, "/*/*") {
			return nil, fmt.Errorf("there is no %s", pattern)
		}

		for _, path := range paths {
			st, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			if st.IsDir() || filepath.Ext(path) == ".go" {
				continue
			}

			data, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return nil, err
			}
			out = append(out, file{filepath.ToSlash(name), data, modeText})
		}
	}
	return out, nil
}

// writeSums writes the checksums of files of a directory.
func writeSums(dir string, names []string) error {
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%x  %s\n", sha256.Sum256(data), name)
	}
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(out.String()), modeText)
}
