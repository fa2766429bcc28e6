package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"fhirdest.example/cmd/internal/crlserver"
	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/gateway/complaint"
)

const serveUsage = `usage: community serve -config FILE

Serves every .crl, .cer and .crt file of a directory over HTTP, each read anew
per request. It holds no key and signs nothing; a list that has ended, or will
soon, is warned of in the log.

FILE is YAML:
  listen: 127.0.0.1:9481    # address
  dir: trust                # directory, relative to FILE
  warnBefore: 24h           # warn of lists that end within this

Example:
  community serve -config community.yaml
`

func serve(ctx context.Context, args []string, e env) error {
	fs := flags("serve", serveUsage, e)
	config := fs.String("config", "", "")
	if _, err := parse(fs, args, 0, "config"); err != nil {
		return err
	}

	var c crlserver.Config
	err := yamlfile.Read(*config, &c)
	if err := errors.Join(err, c.Check(filepath.Dir(*config))); err != nil {
		return usageError{err}
	}

	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return usageError{
			complaint.New(
				fmt.Sprintf("listen: %v", err),
				"another program holds the port, or the address is not of this machine; change listen: in "+*config,
			),
		}
	}

	log := slog.New(slog.NewTextHandler(e.stderr, nil))
	log.Info("lists are served", "address", ln.Addr().String(), "dir", c.Dir)
	return (&crlserver.Server{
		Config: c,
		Log:    log,
		Now:    e.now,
	}).Serve(ctx, ln)
}
