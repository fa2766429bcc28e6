package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/evidence"
)

// sizes are the lengths of the evidence files: what lies behind them is this
// demonstration's.
func (d *demo) sizes() (map[string]int64, error) {
	out := map[string]int64{}
	for _, name := range d.manifest.Evidence {
		st, err := os.Stat(d.file(name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[name] = st.Size()
	}

	return out, nil
}

// tail is what a hop wrote since the demonstration began. Several destinations are one
// hop.
func (d *demo) tail(name string) ([]evidence.Line, error) {
	lines, err := d.tailOf(name)
	if err != nil || name != d.manifest.Evidence[0] {
		return lines, err
	}

	for _, other := range d.manifest.Evidence[4:] {
		more, err := d.tailOf(other)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

func (d *demo) tailOf(name string) ([]evidence.Line, error) {
	f, err := os.Open(d.file(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()

	if _, err := f.Seek(d.marks[name], io.SeekStart); err != nil {
		return nil, err
	}

	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return parseLines(data), nil
}

// parseLines reads whole lines; one that is still being written is left out.
func parseLines(data []byte) []evidence.Line {
	var out []evidence.Line
	for line := range bytes.Lines(data) {
		var l evidence.Line
		if json.Unmarshal(line, &l) == nil && l.Dir != "" {
			out = append(out, l)
		}
	}
	return out
}

// hops are the evidence files from originator to destination.
func (d *demo) hops() []string {
	e := d.manifest.Evidence
	return []string{e[3], e[1], e[2], e[0]}
}

// lastAnswer is the digest of what the originator got last.
func (d *demo) lastAnswer() (string, error) {
	if err := d.log.Flush(); err != nil {
		return "", err
	}

	own, err := d.tail(d.hops()[0])
	if err != nil {
		return "", err
	}
	if len(own) == 0 || own[len(own)-1].Dir != "response" {
		return "", errors.New("the originator has no evidence of its last answer")
	}

	return own[len(own)-1].SHA256In, nil
}

// passed looks for an answer in the evidence of the intermediaries: there when
// it came through them, not there when it came straight.
func (d *demo) passed(ctx context.Context, answer string, through bool) error {
	for _, name := range d.hops()[1:3] {
		seen, err := d.sees(ctx, name, answer, through)
		if err != nil {
			return err
		}
		if seen != through {
			return fmt.Errorf("evidence of %s: the answer %.12s is there: %v, expected: %v", name, answer, seen,
				through)
		}
	}

	return nil
}

// asSent holds the answer that the originator got last, all of it, to what the
// destination sent: as often as the one was received, the other was sent.
func (d *demo) asSent(ctx context.Context) error {
	answer, err := d.lastAnswer()
	if err != nil {
		return err
	}

	files := d.hops()
	got, err := d.times(files[0], answer)
	if err != nil {
		return err
	}

	for end := d.now().Add(d.settleTime); ; {
		sent, err := d.times(files[len(files)-1], answer)
		if err != nil || sent >= got {
			return err
		}
		if !d.now().Before(end) {
			return fmt.Errorf("the answer %.12s was received %d times, and the destination sent it %d times",
				answer,
				got, sent)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// times counts the lines of a hop with a digest.
func (d *demo) times(name, sum string) (n int, err error) {
	lines, err := d.tail(name)
	for _, l := range lines {
		if l.SHA256In == sum || l.SHA256Out == sum {
			n++
		}
	}
	return n, err
}

// How long evidence may lag behind the messages: waited for where a line is
// expected, where none is, between two looks at all of it, and since any came, when it
// does not agree.
const (
	settleTime = 30 * time.Second
	quietTime  = 200 * time.Millisecond
	arriveTime = 500 * time.Millisecond
	restTime   = 3 * time.Second
)

// sees looks for a digest: until it comes, or until it would have come.
func (d *demo) sees(ctx context.Context, name, sum string, expected bool) (bool, error) {
	most := quietTime
	if expected {
		most = d.settleTime
	}

	for end := d.now().Add(most); ; {
		lines, err := d.tail(name)
		if err != nil {
			return false, err
		}

		for _, l := range lines {
			if l.SHA256In == sum || l.SHA256Out == sum {
				return true, nil
			}
		}

		if !d.now().Before(end) {
			return false, nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return false, err
		}
	}
}

func pause(ctx context.Context, for_ time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(for_):
		return nil
	}
}

// comparison is the outcome over all hops.
type comparison struct {
	summary  *evidence.Summary
	findings []evidence.Finding
	lines    int   // of evidence that were compared
	straight int64 // messages that the originator sent or got past the intermediaries
}

// showIdentical compares the evidence of all hops, as gateway compare does. It
// waits for lines that are still on their way to the disk.
func showIdentical(ctx context.Context, d *demo) (string, error) {
	if err := d.log.Flush(); err != nil {
		return "", err
	}

	for lines, quiet := -1, time.Duration(0); ; {
		c, err := d.compare()
		if err != nil {
			return "", err
		}

		d.compared = c
		if err = c.judge(); err == nil {
			return c.text(), nil
		}

		if c.lines != lines {
			lines, quiet = c.lines, 0
		}
		if quiet >= d.quietTime { // nothing more has come: this is how it is
			return "", err
		}

		quiet += arriveTime
		if err := pause(ctx, arriveTime); err != nil {
			return "", err
		}
	}
}

// compare copies what belongs to this demonstration to a place of its own and
// has it compared there.
func (d *demo) compare() (*comparison, error) {
	dir, err := os.MkdirTemp("", "sandbox-evidence-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	c := &comparison{}
	path, err := d.extract(dir, c)
	if err != nil {
		return nil, err
	}

	c.summary, err = path.Compare(func(f *evidence.Finding) {
		c.findings = append(c.findings, *f)
	})
	return c, err
}

// extract writes each hop's lines of this demonstration to dir: others may use
// the sandbox at the same time. Every exchange must have passed every hop, unless the
// originator itself has it as straight.
func (d *demo) extract(dir string, c *comparison) (evidence.Path, error) {
	var p evidence.Path
	ours := map[string]bool{}
	for i, name := range d.hops() {
		lines, err := d.tail(name)
		if err != nil {
			return p, err
		}

		if i == 0 {
			for _, l := range lines {
				ours[l.SHA256In], ours[l.SHA256Out] = true, true
				if d.wentStraight(l.Conn) {
					c.straight++
				}
			}
		}

		path := filepath.Join(dir, filepath.Base(name))
		lines = belonging(lines, ours)
		c.lines += len(lines)
		if err := writeLines(path, lines); err != nil {
			return p, err
		}
		p.Files, p.Hops = append(p.Files, path), append(p.Hops, hopName(name, lines))
	}

	return p, nil
}

// hopName is the name of the hop whose lines these are, or that a file without any is of.
func hopName(file string, lines []evidence.Line) string {
	if len(lines) > 0 {
		return lines[0].Hop
	}
	return strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
}

// belonging are the lines of exchanges of which either message, on either side
// of the hop, is one that the originator sent or got: the other message of such
// an exchange may have been changed on its way. A connection on which one of our
// requests went by is ours as a whole, as no hop shares one between clients: what a
// hop adds to it, the originator never sent.
func belonging(lines []evidence.Line, ours map[string]bool) []evidence.Line {
	type exchange struct {
		conn string
		seq  uint64
	}
	known := map[exchange]bool{}
	whole := map[string]bool{}

	for _, l := range lines {
		if ours[l.SHA256In] || ours[l.SHA256Out] {
			known[exchange{l.Conn, l.Seq}] = true
			whole[l.Conn] = whole[l.Conn] || l.Dir == "request"
		}
	}

	var out []evidence.Line
	for _, l := range lines {
		if whole[l.Conn] || known[exchange{l.Conn, l.Seq}] {
			out = append(out, l)
		}
	}

	return out
}

func writeLines(path string, lines []evidence.Line) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, l := range lines {
		if err := e.Encode(l); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), certs.ModeSecret)
}

// judge is nil when every message came through unchanged, and some did.
func (c *comparison) judge() error {
	s := c.summary
	switch {
	case s.First != nil:
		f := s.First
		return fmt.Errorf("differs at %s: %s %s, status %d, %d bytes: %s (conn %s, seq %d)", f.Hop, f.Method,
			f.Dir,
			f.Status, f.Bytes, f.Text, f.Conn, f.Seq)

	case len(s.Missing) > 0:
		return fmt.Errorf("there is no evidence of %s", strings.Join(s.Missing, ", "))
	case s.ExitCode() != 0:
		return fmt.Errorf(
			"%d lines of evidence are lost and %d unreadable",
			s.Lost,
			s.Unreadable,
		)
	case s.Late > 0:
		return fmt.Errorf(
			"%d answers came when a hop or the originator had given up",
			s.Late,
		)
	case s.Answered > 0:
		return fmt.Errorf(
			"%d messages were answered by an intermediary itself",
			s.Answered,
		)

	case s.Straight != c.straight:
		return fmt.Errorf("%d messages are known to the two ends alone, and %d went past the intermediaries",
			s.Straight, c.straight)
	case s.Identical == 0 || s.Straight == 0:
		return fmt.Errorf(
			"%d messages identical and %d straight: both were expected",
			s.Identical,
			s.Straight,
		)
	}

	return nil
}

func (c *comparison) text() string {
	var n int64
	for _, f := range c.findings {
		n += f.Bytes
	}
	s := c.summary
	return fmt.Sprintf("%d messages, %d bytes, by SHA-256: %d identical on %d hops, %d straight", s.Messages, n,
		s.Identical, len(s.Hops), s.Straight)
}

// gatewayKey is the fingerprint of the key that answers for the public name.
func (d *demo) gatewayKey(ctx context.Context, address string) (string, error) {
	dialer := &tls.Dialer{
		Config: &tls.Config{
			RootCAs:    d.roots,
			ServerName: d.manifest.PublicHost(),
			NextProtos: []string{"http/1.1"},
			Time:       d.now,
			MinVersion: tls.VersionTLS12,
		},
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()

	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return fmt.Sprintf("%s %x", certs.DescribeKey(leaf.PublicKey), sum[:4]), nil
}
