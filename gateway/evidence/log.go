package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fhirdest.example/gateway/wire"
)

// SyncPolicy says when lines are forced to the disk.
type SyncPolicy string

const (
	// SyncNone leaves it to the operating system: a crash of the program loses at
	// most Options.Flush, a power cut more.
	SyncNone SyncPolicy = "none"
	// SyncInterval forces them with each flush.
	SyncInterval SyncPolicy = "interval"
	// SyncEach makes Record wait until its line is on the disk; waiters share one
	// sync.
	SyncEach SyncPolicy = "each"
)

// Options of a Log; the zero value is usable but for Now.
type Options struct {
	// Flush is how long a line may stay in memory; 50 ms when 0.
	Flush time.Duration
	// Sync is SyncNone when empty.
	Sync SyncPolicy
	// Rotate renames a file that has reached this many bytes to NAME.000001 and so
	// on, and begins a new one; 0 never does. Compare reads them all by NAME.
	Rotate int64
	// Now is the clock of the lines that report a loss; required.
	Now func() time.Time
}

// maxBuffered bounds the lines in memory that wait for the disk, and again those that
// are being written: beyond it Record waits, and, while the disk fails, lines are
// counted as lost.
const (
	chunkBytes  = 256 << 10
	maxBuffered = 1 << 20
)

// ErrLost is what Record returns for a line that cannot be kept.
var ErrLost = errors.New("evidence: a line was lost, as the file cannot be written")

// Log is the evidence file of one hop. Its methods may be called at once from
// different goroutines.
type Log struct {
	path  string
	hop   string // quoted
	opt   Options
	epoch string
	conns atomic.Uint64
	kick  chan struct{}
	done  chan struct{}

	// mu guards what writers fill; the file belongs to the goroutine run alone.
	mu       sync.Mutex
	changed  *sync.Cond
	active   []byte
	writing  int    // bytes that flush has moved from active, whatever becomes of them
	added    uint64 // lines ever accepted
	written  uint64 // of these, lines in the file
	lost     int64  // lines dropped since the last line that reported it
	lostEver int64
	err      error // of the last attempt to write
	urgent   bool
	closed   bool

	pending *pending // guarded by mu; nil for what is no plain file

	file  *os.File
	size  int64
	base  int64 // size of the file when it was opened
	since int64 // lines written to it after that
	spare []byte
}

// Open opens, or creates with mode 0600, the evidence file of the named hop and adds
// to it. A last line that a crash cut short is ended, so that the next one is whole;
// lines that a killed program had accepted and not written are reported as lost. PATH.owed,
// which counts them, is beside the file while it is open.
func Open(path, hop string, opt Options) (*Log, error) {
	if opt.Now == nil {
		return nil, errors.New("evidence: no clock")
	}

	if opt.Flush == 0 {
		opt.Flush = 50 * time.Millisecond
	}

	switch opt.Sync {
	case "":
		opt.Sync = SyncNone
	case SyncNone, SyncInterval, SyncEach:
	default:
		return nil, fmt.Errorf("evidence: sync %q is none of none, interval, each", opt.Sync)
	}

	l := &Log{
		path:  path,
		hop:   quote(hop),
		opt:   opt,
		epoch: strconv.FormatInt(opt.Now().UnixMicro(), 36),
		kick:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	l.changed = sync.NewCond(&l.mu)
	if err := l.open(); err != nil {
		return nil, err
	}
	if err := l.recall(); err != nil {
		l.file.Close()
		return nil, err
	}

	go l.run()
	return l, nil
}

// recall takes over the lines that the last program had not written.
func (l *Log) recall() error {
	info, err := l.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	if l.pending, l.lost, err = openPending(l.path); err != nil {
		return err
	}

	l.lostEver = l.lost
	if l.lost > 0 {
		l.signal()
	}
	return nil
}

// open opens the file for adding.
func (l *Log) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}

	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}

	l.file, l.size, l.base, l.since = f, info.Size(), info.Size(), 0
	last := []byte{'\n'}
	if l.size > 0 {
		f.ReadAt(last, l.size-1)
	}
	if last[0] != '\n' {
		n, err := f.Write([]byte{'\n'})
		l.size += int64(n)
		return err
	}

	return nil
}

// ConnID names a new connection, uniquely in the file over restarts.
func (l *Log) ConnID() string {
	return l.epoch + "-" + strconv.FormatUint(l.conns.Add(1), 10)
}

// Owe announces n messages, whose lines follow, with Owed set: of a program that is killed
// before them, these lines are lost too. With -1 it withdraws one that came to nothing.
func (l *Log) Owe(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.add(n)
}

// Record adds the line of m. It returns at once unless the disk is far behind, or
// the policy is SyncEach; the error, also counted and reported in the file later, is
// ErrLost.
func (l *Log) Record(m *wire.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.full() && l.err == nil && !l.closed {
		l.changed.Wait()
	}

	if !m.Owed {
		l.pending.add(1)
	}
	if l.closed || l.full() {
		l.lost, l.lostEver = addUp(l.lost, 1), addUp(l.lostEver, 1)
		return ErrLost
	}

	first := len(l.active) == 0
	l.active = appendMessage(l.active, l.hop, m)
	l.added++
	if l.opt.Sync == SyncEach {
		return l.await(l.added)
	}

	if first || len(l.active) >= chunkBytes {
		l.urgent = l.urgent || len(l.active) >= chunkBytes
		l.signal()
	}
	return nil
}

// full: the lines in memory are as many as may be; with mu held.
func (l *Log) full() bool {
	return len(l.active) > maxBuffered || len(l.active)+l.writing > 2*maxBuffered
}

// Tap is Record for a wire.Tap, which cannot use the error: Err and Lost have it.
func (l *Log) Tap(m *wire.Message) { l.Record(m) }

// Flush returns when every line accepted so far is in the file, or cannot be.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.await(l.added)
}

// await waits, with mu held, until so many lines are written or an attempt failed.
func (l *Log) await(lines uint64) error {
	l.err = nil
	for l.written < lines && l.err == nil {
		l.urgent = true
		l.signal()
		l.changed.Wait()
	}
	return l.err
}

// Err is the error of the last attempt to write, nil when it worked: while it is not
// nil, evidence is at risk.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Lost counts the lines that were never written.
func (l *Log) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lostEver
}

// Close writes what is left, forces it to the disk and closes the file.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return os.ErrClosed
	}

	l.closed = true
	l.signal()
	l.mu.Unlock()
	<-l.done
	err := errors.Join(l.Err(), l.file.Sync(), l.file.Close())
	l.mu.Lock()
	defer l.mu.Unlock()

	return errors.Join(err, l.pending.close())
}

func (l *Log) signal() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// run writes lines until Close.
func (l *Log) run() {
	defer close(l.done)
	for {
		<-l.kick
		l.rest()
		l.mu.Lock()
		closed := l.closed
		l.urgent = false
		l.mu.Unlock()
		l.flush()
		if closed {
			return
		}
	}
}

// rest lets lines gather for the flush interval, unless someone waits for them.
func (l *Log) rest() {
	t := time.NewTimer(l.opt.Flush)
	defer t.Stop()
	for {
		l.mu.Lock()
		now := l.urgent || l.closed
		l.mu.Unlock()
		if now {
			return
		}

		select {
		case <-t.C:
			return
		case <-l.kick:
		}
	}
}

// flush writes what has gathered, in pieces, so that of what a full disk refuses as a
// whole some may still go. What fails is put back and tried again.
func (l *Log) flush() {
	err := l.reopen()
	l.mu.Lock()
	l.pending.check()
	lines, lost := l.active, l.lost
	l.active, l.spare, l.writing = l.spare[:0], nil, len(lines)
	l.mu.Unlock()
	rest := lines
	for len(rest) > 0 && err == nil {
		n := piece(rest)
		if err = l.write(rest[:n]); err == nil {
			l.wrote(bytes.Count(rest[:n], newline), 0)
			rest = rest[n:]
		}
	}

	if err == nil && lost > 0 {
		err = l.write(fmt.Appendf(nil, `{"time":%q,"hop":%s,"lost":%d}`+"\n",
			l.opt.Now().UTC().Format(time.RFC3339Nano), l.hop, lost))
		if err == nil {
			l.wrote(0, lost)
		}
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.writing = err, 0
	if err == nil {
		l.spare = lines
	} else {
		l.putBack(rest)
	}

	l.changed.Broadcast()
}

var newline = []byte{'\n'}

// piece returns where the last line ends that fits a piece, or the first line of all.
func piece(b []byte) int {
	if len(b) <= chunkBytes {
		return len(b)
	}
	if end := bytes.LastIndexByte(b[:chunkBytes], '\n'); end >= 0 {
		return end + 1
	}
	return bytes.IndexByte(b, '\n') + 1
}

// wrote counts lines that are in the file, and lost ones that it reports.
func (l *Log) wrote(lines int, lost int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written += uint64(lines)
	l.lost -= lost
	l.pending.settle(int64(lines)+lost, l.size)
}

// putBack returns unwritten lines to the front and arranges another attempt.
func (l *Log) putBack(lines []byte) {
	l.active = append(lines, l.active...)
	if !l.closed {
		time.AfterFunc(l.opt.Flush, l.signal)
	}
}

// write adds whole lines to the file, or nothing.
func (l *Log) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}

	if l.opt.Rotate > 0 && l.size > 0 && l.size+int64(len(b)) > l.opt.Rotate {
		if err := l.rotate(); err != nil {
			return err
		}
	}

	if _, err := l.file.Write(b); err != nil {
		l.file.Truncate(l.size) // best effort: a half line is skipped by Compare too
		return err
	}

	l.size += int64(len(b))
	l.since += int64(bytes.Count(b, newline))
	if l.opt.Sync == SyncNone {
		return nil
	}

	return l.file.Sync()
}

// reopen sees to it that what was written is where it is looked for. A file that
// was removed, replaced or cut short under us is opened anew, and those of its lines
// that are gone, one at least, are counted as lost.
func (l *Log) reopen() error {
	own, err := l.file.Stat()
	if err != nil || !own.Mode().IsRegular() {
		return err
	}

	info, err := os.Stat(l.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}

	there := err == nil && os.SameFile(own, info)
	if there && info.Size() >= l.size {
		return nil
	}

	old, base, gone := l.file, l.base, l.since
	if err := l.open(); err != nil {
		return err
	}

	switch {
	case there:
		left, _ := reportedAfter(l.path, base)
		l.forget(max(gone-left, 1))
	case !l.numbered(own):
		l.forget(max(gone, 1))
	}

	return old.Close()
}

// numbered reports whether the file has its number already: a new one could not be
// begun then.
func (l *Log) numbered(own os.FileInfo) bool {
	olds, _ := rotated(l.path)
	return slices.ContainsFunc(olds, func(old string) bool {
		info, err := os.Stat(old)
		return err == nil && os.SameFile(own, info)
	})
}

// forget counts lines that were in the file as lost.
func (l *Log) forget(lines int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.lostEver = addUp(l.lost, lines), addUp(l.lostEver, lines)
	l.pending.settle(-lines, l.size)
}

// rotate gives the full file the next number and begins a new one.
func (l *Log) rotate() error {
	if err := l.file.Sync(); err != nil {
		return err
	}

	next, err := l.nextNumber()
	if err != nil {
		return err
	}

	// Not there: it was renamed before, and a new one could not be begun then.
	if err := os.Rename(l.path, fmt.Sprintf("%s.%06d", l.path, next)); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return err
	}

	old := l.file
	if err := l.open(); err != nil {
		return err
	}

	l.mu.Lock()
	l.pending.settle(0, l.size)
	l.mu.Unlock()
	return old.Close()
}

// lastSuffix names the file beside an evidence file that has the last number given.
const lastSuffix = ".last"

// nextNumber returns a number that no rotated file has, or had: one that was taken away is
// kept elsewhere under its name. The number is on the disk before it is used.
func (l *Log) nextNumber() (int, error) {
	last := 0
	if b, err := os.ReadFile(l.path + lastSuffix); err == nil {
		last, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}

	olds, err := rotated(l.path)
	if err != nil {
		return 0, err
	}

	for _, old := range olds {
		last = max(last, number(old))
	}

	next := last + 1
	made := l.path + lastSuffix + ".new"
	if err := os.WriteFile(made, fmt.Appendln(nil, next), 0o600); err != nil {
		return 0, err
	}

	return next, os.Rename(made, l.path+lastSuffix)
}

// number returns the number of a rotated file.
func number(path string) int {
	n, _ := strconv.Atoi(filepath.Ext(path)[1:])
	return n
}

// rotated returns the numbered files of path, oldest first.
func rotated(path string) ([]string, error) {
	all, err := filepath.Glob(globEscape(path) + ".[0-9][0-9][0-9][0-9][0-9][0-9]*")
	all = slices.DeleteFunc(all, func(p string) bool {
		return strings.Trim(filepath.Ext(p)[1:], "0123456789") != "" ||
			!strings.HasPrefix(p, path+".") ||
			strings.Contains(p[len(path)+1:], ".")
	})
	slices.SortFunc(all, func(a, b string) int { return number(a) - number(b) })
	return all, err
}

// globEscape makes a path match itself alone.
func globEscape(path string) string {
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if c := path[i]; c == '*' || c == '?' || c == '[' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}
