package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/gateway/complaint"
)

const initUsage = `usage: community init -ca PREFIX -uri URI [flags]

Makes a root, an issuing CA and both lists as files PREFIX*.

  -ca PREFIX   path and first part of the names of the files, such as trust/a
  -uri URI     the community's own URI, as clients name it in ?community=
  -name TEXT   its name for people (default: the URI)
  -base URL    where its lists will be served; goes into every certificate as
               distribution point. Without it there are none, and those who
               rely on them need the list by other means
  -key KIND    rsa2048 (default), rsa3072, p256, p384

Example:
  community init -ca trust/a -uri https://a.example/trust -name "Sandbox A" -base http://localhost:9481
`

func initCommunity(_ context.Context, args []string, e env) error {
	fs := flags("init", initUsage, e)
	var about authority.About
	prefix, kind := fs.String("ca", "", ""), fs.String("key", "rsa2048", "")
	fs.StringVar(&about.URI, "uri", "", "")
	fs.StringVar(&about.Name, "name", "", "")
	fs.StringVar(&about.Base, "base", "", "")
	if _, err := parse(fs, args, 0, "ca", "uri"); err != nil {
		return err
	}

	about.Base = strings.TrimSuffix(about.Base, "/")
	if about.Name == "" {
		about.Name = about.URI
	}
	if authority.Exists(*prefix) {
		return complaint.New("there is a community at "+*prefix+" already",
			"choose another -ca, or remove its files")
	}
	if err := os.MkdirAll(filepath.Dir(*prefix), 0o700); err != nil {
		return err
	}

	a, err := authority.Create(*prefix, about, certs.KeyKind(*kind), e.now())
	if errors.Is(err, authority.ErrNoCRL) {
		return complaint.New(err.Error(), "put the file back from a backup, as a new one would forget every "+
			"revocation; or remove all files of "+*prefix+" and begin a new community")
	}
	if err != nil {
		return err
	}

	fmt.Fprintf(e.stdout, "made community %s\n  anchor  %s\n  sha-256 %s\n", about.URI, a.File("-root.pem"),
		fingerprint(a.Root.Cert))
	return nil
}
