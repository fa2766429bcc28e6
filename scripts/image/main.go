// Command image makes container images of the programs, without a daemon: from
// scratch, for amd64 and arm64, as an OCI layout for registries and as archives for
// docker load.
//
// Two images of one commit are equal byte for byte.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"fhirdest.example/scripts/release/build"
)

const usage = `usage: go run ./scripts/image -out DIR [flags]

Makes an image of each actor. In DIR, ACTOR is an OCI layout with an index of
linux/amd64 and linux/arm64, and ACTOR-ARCH.tar is for docker load or podman load.

  -out DIR           a directory, which may be made
  -version VERSION   as v1.2.3, also the tag of the images; default: as in a release
  -actors LIST       default: community,destination,gateway,originator
  -platforms LIST    default: linux/amd64,linux/arm64
  -source DIR        the checkout to build (default: the current directory)

An image runs as user 65532 and needs no writable root file system: what a
program writes is in the volume /var/lib/ACTOR, its configuration is
/etc/ACTOR/ACTOR.yaml, and authorities of web servers are Mozilla's.

Example:
  go run ./scripts/image -out /tmp/images -version v1.2.3
  podman load -i /tmp/images/gateway-amd64.tar
  podman run --read-only -v /etc/gateway:/etc/gateway:ro -v gateway:/var/lib/gateway gateway:v1.2.3
`

// actors are the programs that have an image.
var actors = []string{
	"community",
	"destination",
	"gateway",
	"originator",
}

// platforms are those of the images.
var platforms = []build.Platform{
	{OS: "linux", Arch: "amd64"},
	{OS: "linux", Arch: "arm64"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are those of the command line.
type options struct {
	out, version, actors, platforms, source string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.out, "out", "", "")
	f.StringVar(&o.version, "version", "", "")
	f.StringVar(&o.actors, "actors", strings.Join(actors, ","), "")
	f.StringVar(&o.platforms, "platforms", "linux/amd64,linux/arm64", "")
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

	if err := images(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	return 0
}

func images(ctx context.Context, o options, progress io.Writer) error {
	var on []build.Platform
	for text := range strings.SplitSeq(o.platforms, ",") {
		p, err := build.ParsePlatform(text)
		if err != nil {
			return err
		}
		if !slices.Contains(platforms, p) {
			return fmt.Errorf("no image is made for %s", text)
		}
		on = append(on, p)
	}
	for actor := range strings.SplitSeq(o.actors, ",") {
		if !slices.Contains(actors, actor) {
			return fmt.Errorf("there is no actor %q", actor)
		}
	}

	source, err := build.Describe(ctx, o.source, o.version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}

	m := maker{
		source: source,
		golang: build.Go{Root: o.source, Version: source.Version, Commit: source.Commit},
		out:    o.out,
	}
	for actor := range strings.SplitSeq(o.actors, ",") {
		digest, err := m.make(ctx, actor, on)
		if err != nil {
			return fmt.Errorf("%s: %w", actor, err)
		}
		fmt.Fprintf(progress, "%s:%s %s\n", actor, source.Version, digest)
	}
	return nil
}

// maker makes images from one source.
type maker struct {
	source build.Source
	golang build.Go
	out    string
}

// make makes the image of an actor, and returns the digest of its index.
func (m maker) make(ctx context.Context, actor string, on []build.Platform) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range on {
		img, err := m.image(ctx, actor, p)
		if err != nil {
			return v1.Hash{}, err
		}
		if err := m.archive(actor, p, img); err != nil {
			return v1.Hash{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: img,
			Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: p.OS, Architecture: p.Arch},
			},
		})
	}

	dir := filepath.Join(m.out, actor)
	if err := os.RemoveAll(dir); err != nil {
		return v1.Hash{}, err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	named := map[string]string{"org.opencontainers.image.ref.name": m.source.Version}
	if err := path.AppendIndex(index, layout.WithAnnotations(named)); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

// archive writes the image of one platform for docker load.
func (m maker) archive(actor string, p build.Platform, img v1.Image) error {
	tag, err := name.NewTag(actor + ":" + m.source.Version)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(filepath.Join(m.out, actor+"-"+p.Arch+".tar"), tag, img)
}
