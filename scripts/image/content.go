package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"fhirdest.example/scripts/release/build"
)

// The account of the program in an image, which is nobody's elsewhere.
const (
	account     = 65532
	accountText = "65532:65532"
	passwd      = "root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n"
	group       = "root:x:0:\nnonroot:x:65532:\n"
)

// entry is a file or a directory of an image.
type entry struct {
	name  string
	data  []byte
	mode  fs.FileMode
	dir   bool
	owner int
}

// image makes the image of an actor for one platform.
func (m maker) image(ctx context.Context, actor string, p build.Platform) (v1.Image, error) {
	binary, err := m.program(ctx, actor, p)
	if err != nil {
		return nil, err
	}
	content, err := pack(entries(actor, binary), m.source.Time)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer),
	)
	if err != nil {
		return nil, err
	}

	base := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img, err := mutate.Append(
		mutate.ConfigMediaType(base, types.OCIConfigJSON),
		mutate.Addendum{
			Layer: layer,
			History: v1.History{
				Created:   v1.Time{Time: m.source.Time},
				CreatedBy: "scripts/image",
			},
		},
	)
	if err != nil {
		return nil, err
	}

	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = p.OS, p.Arch
	file.Created = v1.Time{Time: m.source.Time}
	file.Config = m.config(actor)
	return mutate.ConfigFile(img, file)
}

// program builds an actor's program.
func (m maker) program(ctx context.Context, actor string, p build.Platform) ([]byte, error) {
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	if err := m.golang.Build(ctx, p, dir, actor); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, p.File(actor)))
}

// config is how an actor is started.
func (m maker) config(actor string) v1.Config {
	c := v1.Config{
		User:       accountText,
		WorkingDir: state(actor),
		Entrypoint: []string{"/" + actor},
		Cmd:        []string{"-config", "/etc/" + actor + "/" + actor + ".yaml"},
		StopSignal: "SIGTERM",
		Volumes:    map[string]struct{}{state(actor): {}},
		Labels: map[string]string{
			"org.opencontainers.image.title":    actor,
			"org.opencontainers.image.version":  m.source.Version,
			"org.opencontainers.image.revision": m.source.Commit,
			"org.opencontainers.image.created":  m.source.Time.Format(time.RFC3339),
		},
	}

	switch actor {
	case "community":
		c.Cmd = append([]string{"serve"}, c.Cmd...)
	case "originator":
		c.Cmd = []string{"help"}
	}
	return c
}

// state is the directory that an actor writes to.
func state(actor string) string {
	return "/var/lib/" + actor
}

// entries are all that is in an image, parents first.
func entries(actor string, binary []byte) []entry {
	return []entry{
		{name: actor, data: binary, mode: 0o755},
		{name: "etc", mode: 0o755, dir: true},
		{name: "etc/" + actor, mode: 0o755, dir: true},
		{name: "etc/group", data: []byte(group), mode: 0o644},
		{name: "etc/passwd", data: []byte(passwd), mode: 0o644},
		{name: "etc/ssl", mode: 0o755, dir: true},
		{name: "etc/ssl/certs", mode: 0o755, dir: true},
		{name: "etc/ssl/certs/ca-certificates.crt", data: authorities(), mode: 0o644},
		{name: "var", mode: 0o755, dir: true},
		{name: "var/lib", mode: 0o755, dir: true},
		{name: strings.TrimPrefix(state(actor), "/"), mode: 0o700, dir: true, owner: account},
	}
}

// authorities returns Mozilla's authorities of web servers. One that Mozilla trusts
// with a constraint is left out: a PEM file cannot express it.
func authorities() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
	}
	return out.Bytes()
}

// pack returns entries as an uncompressed archive.
func pack(entries []entry, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     e.name,
			Size:     int64(len(e.data)),
			Mode:     int64(e.mode),
			Uid:      e.owner,
			Gid:      e.owner,
			ModTime:  at,
			Format:   tar.FormatUSTAR,
		}
		if e.dir {
			h.Typeflag = tar.TypeDir
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), errors.Join(w.Close())
}
