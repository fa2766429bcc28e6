package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// legal are the names of files that a module's licence asks to pass on.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// licenses returns the licences of modules and of Go's own library, in one text. A
// module without any is an error: it may not be passed on.
func licenses(ctx context.Context, root string, modules []string) ([]byte, error) {
	dirs, err := directories(ctx, root, modules)
	if err != nil {
		return nil, err
	}
	goroot, err := output(ctx, root, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	dirs["std"] = goroot

	var out bytes.Buffer
	out.WriteString("The programs contain the following modules.\n")
	for _, m := range append(slices.Clone(modules), "std") {
		texts, err := legalTexts(dirs[m])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m, err)
		}
		fmt.Fprintf(&out, "\n%s\n%s\n\n%s", strings.Repeat("=", 80), m, texts)
	}
	return out.Bytes(), nil
}

// directories returns where the source of each module is.
func directories(ctx context.Context, root string, modules []string) (map[string]string, error) {
	out, err := output(ctx, root, append([]string{"list", "-m", "-f", "{{.Path}}\t{{.Dir}}"}, modules...)...)
	if err != nil {
		return nil, err
	}

	dirs := map[string]string{}
	for line := range strings.Lines(out) {
		name, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[name] = dir
	}
	return dirs, nil
}

// legalTexts returns the files at the top of a module that are about its licence.
func legalTexts(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}

	var out bytes.Buffer
	for _, e := range entries {
		if e.IsDir() || !legal.MatchString(e.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out.Write(bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
		out.WriteString("\n")
	}
	if out.Len() == 0 {
		return nil, fmt.Errorf("no licence in %s: %w", dir, fs.ErrNotExist)
	}
	return out.Bytes(), nil
}

// output returns what a go command prints.
func output(ctx context.Context, root string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = root
	out, err := c.Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		err = fmt.Errorf("go %s: %w: %s", args[0], err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
