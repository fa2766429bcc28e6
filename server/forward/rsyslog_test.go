package forward_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// rsyslog starts Debian's rsyslog as a receiver of TLS, and returns its address and
// the file in which it stores messages as they came.
func (e *env) rsyslog() (addr, file string) {
	e.tb.Helper()
	dir := e.tb.TempDir()
	file = filepath.Join(dir, "messages")
	id := e.identity("collector.example")
	key, err := x509.MarshalPKCS8PrivateKey(id.PrivateKey)
	if err != nil {
		e.tb.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: e.TLS.Cert.Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: id.Certificate[0]},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			e.tb.Fatal(err)
		}
	}

	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.tb.Fatal(err)
	}
	addr = free.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	free.Close()

	config := fmt.Sprintf(`global(workDirectory="%[1]s" maxMessageSize="64k" defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="%[1]s/ca.pem" defaultNetstreamDriverCertFile="%[1]s/cert.pem"
  defaultNetstreamDriverKeyFile="%[1]s/key.pem")
main_queue(queue.type="Direct") # in order: no worker threads
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon")
template(name="raw" type="string" string="%%rawmsg%%\n")
input(type="imtcp" address="127.0.0.1" port="%[2]s")
action(type="omfile" file="%[3]s" template="raw")
`, dir, port, file)
	if err := os.WriteFile(filepath.Join(dir, "rsyslog.conf"), []byte(config), 0o600); err != nil {
		e.tb.Fatal(err)
	}

	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		e.tb.Fatal(err)
	}
	cmd := exec.Command("rsyslogd", "-n", "-f", filepath.Join(dir, "rsyslog.conf"), "-i", filepath.Join(dir, "pid"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		e.tb.Fatalf("%v; scripts/test installs rsyslog", err)
	}
	e.tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
	})
	return addr, file
}

// Debian's rsyslog takes every message as it was sent, in order, over TLS.
//
// Covers: FS-402
func TestRsyslogTakesTheRecord(t *testing.T) {
	e, m := newEnv(t), records(300)
	addr, file := e.rsyslog()
	f := e.run(m, e.syslog(addr))
	e.Eventually("rsyslog confirms all", func() bool { return f.State().Position == 300 })

	var box inbox
	e.Eventually("rsyslog has stored all", func() bool {
		text, _ := os.ReadFile(file)
		box.messages = nil
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, " destination east AuditEvent ") {
				box.messages = append(box.messages, strings.TrimSuffix(line, "\n"))
			}
		}
		return len(box.messages) >= 300
	})
	if got := firsts(box.numbers(t)); got != wholeRecord(300) {
		t.Errorf("stored: %s", got)
	}
}
