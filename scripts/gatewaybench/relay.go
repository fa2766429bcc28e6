package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// runRelay is a baseline: it terminates TLS and carries bytes both ways, one upstream
// for each client, and knows nothing of messages, limits or time. What the gateway
// costs above it is what the gateway adds.
func runRelay(addr, origin, dir string) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, publicName+".pem"),
		filepath.Join(dir, publicName+".key"))
	if err != nil {
		return err
	}

	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	l, err := tls.Listen("tcp", addr, &tls.Config{
		Certificates:                []tls.Certificate{pair},
		NextProtos:                  []string{"http/1.1"},
		DynamicRecordSizingDisabled: true,
	})
	if err != nil {
		return err
	}

	upstream := &tls.Config{
		RootCAs:                     pool,
		ServerName:                  "origin.test",
		NextProtos:                  []string{"http/1.1"},
		CurvePreferences:            []tls.CurveID{tls.X25519},
		DynamicRecordSizingDisabled: true,
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go relay(c, origin, upstream)
	}
}

func relay(client net.Conn, origin string, config *tls.Config) {
	defer client.Close()
	up, err := tls.Dial("tcp", origin, config)
	if err != nil {
		return
	}
	defer up.Close()
	go carry(up, client)
	carry(client, up)
}

var carriers = sync.Pool{New: func() any {
	b := make([]byte, 16<<10)
	return &b
}}

// carry copies until one side ends, and then ends the other.
func carry(to, from net.Conn) {
	b := carriers.Get().(*[]byte)
	defer carriers.Put(b)
	defer to.Close()

	for {
		n, err := from.Read(*b)
		if n > 0 {
			if _, err := to.Write((*b)[:n]); err != nil {
				return
			}
		}

		if err != nil {
			return
		}
	}
}
