//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"fhirdest.example/certs"
)

const version = "v1.2.3-test"

// TestImage makes the image of the gateway twice, and runs it as an engine of
// containers would.
func TestImage(t *testing.T) {
	out := t.TempDir()
	said := makeImages(t, out)
	t.Run("equal", func(t *testing.T) {
		if again := makeImages(t, t.TempDir()); again != said {
			t.Errorf("the digests differ: %s, %s", said, again)
		}
	})

	index, img := open(t, filepath.Join(out, "gateway"))
	t.Run("valid", func(t *testing.T) {
		if err := validate.Index(index); err != nil {
			t.Error(err)
		}
	})
	t.Run("archive", func(t *testing.T) {
		loaded, err := tarball.ImageFromPath(filepath.Join(out, "gateway-amd64.tar"), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := loaded.ConfigName()
		want, wanted := img.ConfigName()
		if err := errors.Join(err, wanted); err != nil || got != want {
			t.Errorf("%v, want %v; %v", got, want, err)
		}
	})
	t.Run("configuration", func(t *testing.T) { testConfiguration(t, img) })
	t.Run("content", func(t *testing.T) { testContent(t, img) })
	t.Run("run", func(t *testing.T) { testRun(t, img) })
}

func makeImages(t *testing.T, out string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{
		"-source", "../..",
		"-out", out,
		"-version", version,
		"-actors", "gateway",
		"-platforms", "linux/amd64",
	}, &stdout, &stderr)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	return stdout.String()
}

// open returns the index of a layout and its only image.
func open(t *testing.T, dir string) (v1.ImageIndex, v1.Image) {
	t.Helper()
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	names, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(names.Manifests) != 1 || names.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != version {
		t.Fatalf("%+v", names.Manifests)
	}

	index, err := top.ImageIndex(names.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Platform.String() != "linux/amd64" {
		t.Fatalf("%+v", m.Manifests)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index, img
}

func testConfiguration(t *testing.T, img v1.Image) {
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.OS != "linux" || file.Architecture != "amd64" {
		t.Errorf("%s/%s", file.OS, file.Architecture)
	}
	c := file.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/gateway"}) {
		t.Errorf("%s runs %q", c.User, c.Entrypoint)
	}
	if _, ok := c.Volumes["/var/lib/gateway"]; !ok {
		t.Errorf("the volumes are %v", c.Volumes)
	}
	if got := c.Labels["org.opencontainers.image.version"]; got != version {
		t.Errorf("its version is %q", got)
	}
}

// testContent: nothing but its own directory can be written to by the account of the
// program, and the authorities are certificates.
func testContent(t *testing.T, img v1.Image) {
	content := mutate.Extract(img)
	defer content.Close()

	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		own := filepath.Clean(h.Name) == "var/lib/gateway"
		if (h.Uid == account) != own || h.Mode&0o022 != 0 {
			t.Errorf("%s belongs to %d, mode %o", h.Name, h.Uid, h.Mode)
		}

		if !strings.HasSuffix(h.Name, "ca-certificates.crt") {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(text) || bytes.Count(text, []byte("BEGIN CERTIFICATE")) < 50 {
			t.Errorf("%d bytes of authorities", len(text))
		}
	}
}

// testRun runs the image's program in the image's files as the image's user: it
// serves, writes evidence into its volume and nothing anywhere else.
func testRun(t *testing.T, img v1.Image) {
	dir := unpack(t, img)
	pool := configure(t, filepath.Join(dir, "etc/gateway"))
	before := list(t, dir)

	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	p := contained(t, dir, file.Config, file.Config.Cmd...)
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = t.Output()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ready, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(ready[strings.LastIndex(ready, " "):])

	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "gateway.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /acme HTTP/1.1\r\nHost: gateway.example.org\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 502 ") {
		t.Errorf("with no next hop: %q, %v", line, err)
	}

	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	after := list(t, dir)
	after = slices.DeleteFunc(after, func(name string) bool { return strings.HasPrefix(name, "var/lib/gateway/") })
	if !slices.Equal(before, after) {
		t.Errorf("it wrote elsewhere:\n%v\n%v", before, after)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "var/lib/gateway/gateway.jsonl")); err != nil || len(text) == 0 {
		t.Errorf("%d bytes of evidence, %v", len(text), err)
	}
}

// contained is a command in the files of an image, as its user. An account that is
// not root becomes that user in a namespace of its own.
func contained(t *testing.T, dir string, c v1.Config, args ...string) *exec.Cmd {
	p := exec.CommandContext(t.Context(), c.Entrypoint[0], args...)
	p.Dir = c.WorkingDir
	p.Env = c.Env
	p.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     dir,
		Credential: &syscall.Credential{Uid: account, Gid: account, NoSetGroups: true},
	}
	if os.Geteuid() != 0 {
		p.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		p.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: account, HostID: os.Getuid(), Size: 1}}
		p.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: account, HostID: os.Getgid(), Size: 1}}
	}
	return p
}

// unpack writes the files of an image into a directory.
func unpack(t *testing.T, img v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	content := mutate.Extract(img)
	defer content.Close()

	r := tar.NewReader(content)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}

		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, h.FileInfo().Mode().Perm())
		} else {
			var text []byte
			text, err = io.ReadAll(r)
			err = errors.Join(err, os.WriteFile(path, text, h.FileInfo().Mode().Perm()))
		}
		if os.Geteuid() == 0 {
			err = errors.Join(err, os.Chown(path, h.Uid, h.Gid))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// configure writes a configuration and the certificate that it names, the key
// readable by the image's group alone, as a mounted secret is.
func configure(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	root, err := certs.NewRoot(certs.Template{
		CommonName: "CA",
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := root.Issue(certs.Template{
		CommonName: "gateway.example.org",
		DNS:        []string{"gateway.example.org"},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
	}, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := &certs.Identity{Chain: []*x509.Certificate{cert}, Key: key}

	config := `listen: 127.0.0.1:0
tls: [{cert: tls.pem, key: tls.key}]
keyFiles: group
evidence: {file: /var/lib/gateway/gateway.jsonl}
routes:
  - name: acme
    hosts: [gateway.example.org]
    prefixes: [/acme]
    next: https://destination.internal
    dial: 127.0.0.1:1
`
	err = errors.Join(
		certs.WriteIdentity(filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key"), id),
		os.Chmod(filepath.Join(dir, "tls.key"), 0o440),
		os.WriteFile(filepath.Join(dir, "gateway.yaml"), []byte(config), 0o644),
	)
	if os.Geteuid() == 0 {
		err = errors.Join(err, os.Chown(filepath.Join(dir, "tls.key"), 0, account))
	}
	if err != nil {
		t.Fatal(err)
	}

	pool := x509.NewCertPool()
	pool.AddCert(root.Cert)
	return pool
}

// list returns every path below a directory with its mode.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		out = append(out, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
