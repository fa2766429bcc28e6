package forward_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/forward"
)

// message is the form of RFC 5424: PRI, VERSION, TIMESTAMP, HOSTNAME, APP-NAME,
// PROCID, MSGID, STRUCTURED-DATA and MSG with its byte order mark.
var message = regexp.MustCompile(`^<(\d{1,3})>1 (\S+) fhir\.example destination east AuditEvent ` +
	`\[meta sequenceId="(\d+)"\] ` + "\xef\xbb\xbf" + `(\{.*\})$`)

// inbox is what a receiver of syslog has got.
type inbox struct {
	mu       sync.Mutex
	messages []string
}

// read reads the frames of one connection to its end (RFC 5425 4.3).
func (b *inbox) read(conn io.Reader) error {
	r := bufio.NewReader(conn)
	for {
		length, err := r.ReadString(' ')
		if err == io.EOF && length == "" {
			return nil
		}
		n, bad := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil || bad != nil {
			return fmt.Errorf("a frame begins with %q", length)
		}

		frame := make([]byte, n)
		if _, err := io.ReadFull(r, frame); err != nil {
			return err
		}
		b.mu.Lock()
		b.messages = append(b.messages, string(frame))
		b.mu.Unlock()
	}
}

// numbers are the records that arrived, in their order.
func (b *inbox) numbers(t *testing.T) []string {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, m := range b.messages {
		parts := message.FindStringSubmatch(m)
		if parts == nil {
			t.Fatalf("not of the form of RFC 5424: %q", m)
		}
		all = append(all, parts[3])
	}
	return all
}

func wholeRecord(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i+1))
	}
	return fmt.Sprint(all)
}

// firsts leaves out what arrived again: a slow answer may come too late.
func firsts(all []string) string {
	var once []string
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return fmt.Sprint(once)
}

func (e *env) syslog(addr string, own ...tls.Certificate) *forward.Syslog {
	return &forward.Syslog{
		Addr: addr,
		Host: "fhir.example",
		TLS:  e.sender(own...),
	}
}

// Every record arrives once, in order, in the form of RFC 5424 and RFC 5425.
//
// Covers: FS-402
func TestSyslogMessages(t *testing.T) {
	e, m := newEnv(t), records(450)
	var box inbox
	addr := e.listen(e.receiver("collector.example"), func(c *tls.Conn) {
		if err := box.read(c); err != nil {
			t.Error(err)
		}
		c.Close()
	})

	f := e.run(m, e.syslog(addr))
	e.Eventually("all records arrive", func() bool { return f.State().Position == 450 })
	if got := fmt.Sprint(box.numbers(t)); got != wholeRecord(450) {
		t.Errorf("arrived: %s", got)
	}

	first := message.FindStringSubmatch(box.messages[0])
	if first[1] != "84" || first[2] != "2001-09-09T01:46:41.000000Z" || first[4] != string(m.events[0].Body) {
		t.Errorf("the first message: %q", first)
	}
	for i, want := range []string{"84", "83", "82", "85"} { // facility 10, severity by outcome
		if got := message.FindStringSubmatch(box.messages[i])[1]; got != want {
			t.Errorf("PRI of message %d is %s, want %s", i, got, want)
		}
	}

	m.add(1)
	e.Eventually("a new record follows", func() bool { return len(box.numbers(t)) == 451 })
	e.Eventually("nothing is left", func() bool { return f.State().Lag == 0 })
	if s := f.State(); s.Sent != 451 || s.Problem != "" || !s.Since.IsZero() {
		t.Errorf("state %+v", s)
	}
}

// A receiver that misbehaves gets every record in the end, in order, and nothing is
// taken for accepted that it did not read.
func TestSyslogReceiversThatMisbehave(t *testing.T) {
	for name, spoil := range map[string]func(c *tls.Conn, box *inbox){
		"cuts in the middle": func(c *tls.Conn, box *inbox) {
			_, _ = io.CopyN(io.Discard, c, 700)
		},
		"closes without reading": func(c *tls.Conn, box *inbox) {
			_ = c.Handshake()
		},
		"never reads": func(c *tls.Conn, box *inbox) {
			_ = c.Handshake()
			time.Sleep(400 * time.Millisecond)
		},
		"reads all and does not confirm": func(c *tls.Conn, box *inbox) {
			_, _ = io.Copy(io.Discard, c)
			time.Sleep(400 * time.Millisecond)
		},
		"talks": func(c *tls.Conn, box *inbox) {
			_ = c.Handshake()
			for range 100 {
				if _, err := c.Write(make([]byte, 16<<10)); err != nil {
					return
				}
			}
		},
		"is silent before TLS": func(c *tls.Conn, box *inbox) {
			_, _ = io.CopyN(io.Discard, c.NetConn(), 20)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, m := newEnv(t), records(40)
			var box inbox
			var conns atomic.Int32
			addr := e.listen(e.receiver("collector.example"), func(c *tls.Conn) {
				if conns.Add(1) <= 2 {
					spoil(c, &box)
					return
				}
				_ = box.read(c)
				c.Close()
			})

			f := e.run(m, e.syslog(addr), func(c *forward.Config) { c.Limit = 200 * time.Millisecond })
			e.Eventually("all records arrive", func() bool { return f.State().Position == 40 })
			if got := firsts(box.numbers(t)); got != wholeRecord(40) {
				t.Errorf("arrived: %s", got)
			}
			if s := f.State(); s.Failures < 2 || s.Problem != "" {
				t.Errorf("state %+v", s)
			}
		})
	}
}

// A receiver that cannot prove its name gets nothing; one that asks for a
// certificate gets records only from a sender that has one.
func TestSyslogOverTLSOnly(t *testing.T) {
	e := newEnv(t)
	demanding := e.receiver("collector.example")
	demanding.ClientAuth = tls.RequireAndVerifyClientCert
	old := e.receiver("collector.example")
	old.MaxVersion = tls.VersionTLS11

	for _, row := range []struct {
		name     string
		receiver *tls.Config
		own      []tls.Certificate
		problem  string // empty: everything arrives
	}{
		{"another name", e.receiver("other.example"), nil, "certificate is valid for other.example"},
		{"another CA", newEnv(t).receiver("collector.example"), nil, "unknown authority"},
		{"TLS 1.1", old, nil, "protocol version"},
		{"no certificate of the sender", demanding, nil, "certificate"},
		{"a certificate of the sender", demanding, []tls.Certificate{e.identity("sender.example")}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var box inbox
			addr := e.listen(row.receiver, func(c *tls.Conn) {
				_ = box.read(c)
				c.Close()
			})

			m := records(3)
			f := e.run(m, e.syslog(addr, row.own...))
			if row.problem == "" {
				e.Eventually("all arrives", func() bool { return f.State().Position == 3 })
				return
			}
			e.Eventually("it fails twice", func() bool { return f.State().Failures >= 2 })
			if s := f.State(); !strings.Contains(s.Problem, row.problem) || s.Position != 0 || len(box.numbers(t)) != 0 {
				t.Errorf("state %+v", s)
			}
		})
	}
}

// Sending ends with its context, whatever the receiver does.
func TestSyslogEndsWithItsContext(t *testing.T) {
	e := newEnv(t)
	reached, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	addr := e.listen(e.receiver("collector.example"), func(c *tls.Conn) {
		_ = c.Handshake()
		close(reached)
		<-release
	})

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := e.syslog(addr).Send(ctx, records(200).events)
		ended <- err
	}()
	<-reached
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error, though nothing was confirmed")
	}
}
