package evidence

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every case of testdata/exchanges.txt has its verdict.
//
// Covers: ER-12
func TestExchanges(t *testing.T) {
	data, err := os.ReadFile("testdata/exchanges.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := strings.Split(string(data), "\n== ")[1:]
	if len(cases) < 70 {
		t.Fatalf("%d cases", len(cases))
	}

	for _, text := range cases {
		name, rest, _ := strings.Cut(text, "\n")
		t.Run(name, func(t *testing.T) {
			e := newExchanges(t)
			for line := range strings.Lines(rest) {
				e.do(strings.Fields(line))
			}
			e.check()
		})
	}
}

// exchanges is a case under way.
type exchanges struct {
	t     *testing.T
	dir   string
	files map[string][]string // lines, by the name of the file
	clock map[string]time.Duration
	seqs  map[string]uint64 // of connections
	now   time.Duration
	exit  int
	hops  []string
	finds []string
}

var pathHops = []string{"originator", "gateway", "delegate", "destination"}

func newExchanges(t *testing.T) *exchanges {
	e := &exchanges{
		t:     t,
		dir:   t.TempDir(),
		files: map[string][]string{},
		clock: map[string]time.Duration{},
		seqs:  map[string]uint64{},
		exit:  -1,
	}

	for _, hop := range pathHops {
		e.files[hop] = nil
	}
	return e
}

func (e *exchanges) do(words []string) {
	e.t.Helper()
	if len(words) == 0 {
		return
	}

	switch args := words[1:]; words[0] {
	case "exit":
		e.exit = int(e.number(args[0]))
	case "find":
		e.finds = append(e.finds, strings.Join(args, " "))
	case "hops":
		e.hops = strings.Split(args[0], ",")
	case "clock":
		e.clock[args[0]] = e.duration(args[1])

	case "wait":
		e.now += e.duration(args[0])
	case "x":
		e.exchange(args)
	case "line":
		e.line(args)
	case "lost":
		e.files[args[0]] = append(e.files[args[0]], fmt.Sprintf(`{"time":"2026-01-02T03:04:05Z","hop":%q,"lost":%s}`,
			args[0], args[1]))

	case "none":
		e.files[args[0]] = nil
	default:
		e.t.Fatalf("unknown word %q", words[0])
	}
}

func (e *exchanges) number(text string) int64 {
	e.t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

func (e *exchanges) duration(text string) time.Duration {
	e.t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		e.t.Fatal(err)
	}
	return d
}

// exchange writes an honest exchange at every hop or at those named.
func (e *exchanges) exchange(args []string) {
	hops := pathHops
	if i := slices.Index(args, "via"); i > 0 {
		hops, args = strings.Split(args[i+1], ","), args[:i]
	}

	for i, hop := range hops {
		conn := hop + "-" + args[0]
		if _, err := strconv.Atoi(args[0]); err == nil { // as "line" names it
			conn = map[string]string{
				"originator":  "o",
				"gateway":     "g",
				"delegate":    "d",
				"destination": "s",
			}[hop] + args[0]
		}

		e.seqs[conn]++
		e.put(hop, conn, e.seqs[conn], e.now+time.Duration(i)*time.Millisecond, args[1], args[2], args[2], "")
		for j := 3; j < len(args); j += 2 {
			at := e.now + time.Duration(10+10*j-i)*time.Millisecond
			e.put(hop, conn, e.seqs[conn], at, args[j], args[j+1], args[j+1], args[1])
		}
	}

	e.now += 100 * time.Millisecond
}

// line writes one line.
func (e *exchanges) line(args []string) {
	e.t.Helper()
	in := args[5]
	out, flags := in, args[6:]
	if len(flags) > 0 && flags[0] != "mapped" && flags[0] != "straight" {
		out, flags = flags[0], flags[1:]
	}

	at := e.now + time.Duration(e.number(args[3]))*time.Millisecond
	e.put(args[0], args[1], uint64(e.number(args[2])), at, args[4], in, out, "", flags...)
}

// methods remembers the method of each request, which its answers have, too.
func (e *exchanges) put(
	file, conn string, seq uint64, at time.Duration, kind, in, out, method string, flags ...string,
) {
	e.t.Helper()
	hop, _, _ := strings.Cut(file, "#")
	at += e.clock[hop]
	e.seqs[conn] = max(e.seqs[conn], seq)
	l := Line{Time: start.Add(at), Hop: hop, Conn: conn, Seq: seq, Dir: "request", Method: kind}

	unread := strings.HasSuffix(kind, "?")
	if status, err := strconv.Atoi(strings.TrimSuffix(kind, "?")); err == nil {
		l.Dir, l.Status, l.Method = "response", status, method
		if l.Method == "" && !unread {
			l.Method = e.methodOf(file, conn, seq)
		}
	} else if unread {
		l.Method = ""
	}

	l.Mapped = slices.Contains(flags, "mapped")
	if slices.Contains(flags, "straight") {
		l.Route = RouteStraight
	}
	l.BytesIn, l.SHA256In = digestText(in)
	l.BytesOut, l.SHA256Out = digestText(out)
	b, err := json.Marshal(l)
	if err != nil {
		e.t.Fatal(err)
	}

	e.files[file] = append(e.files[file], string(b))
}

// methodOf returns the method of the request that an answer belongs to; GET where it is
// only written later.
func (e *exchanges) methodOf(file, conn string, seq uint64) string {
	for _, text := range e.files[file] {
		var l Line
		if json.Unmarshal([]byte(text), &l) == nil && l.Conn == conn && l.Seq == seq && l.Dir == "request" {
			return l.Method
		}
	}
	return "POST"
}

func digestText(s string) (int64, string) {
	if s == "-" {
		return 0, ""
	}
	sum := sha256.Sum256([]byte(s))
	return int64(len(s)), hex.EncodeToString(sum[:])
}

// check compares the files, named in the order of the path and in the manifest's.
func (e *exchanges) check() {
	e.t.Helper()
	if e.exit < 0 {
		e.t.Fatal("the case has no exit code")
	}

	var paths []string
	for name, lines := range e.files {
		path := filepath.Join(e.dir, name+".jsonl")
		text := strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			e.t.Fatal(err)
		}
		paths = append(paths, path)
	}

	slices.SortFunc(paths, func(a, b string) int { return e.rank(a) - e.rank(b) })

	e.compare(paths)
	slices.SortFunc(paths, func(a, b string) int { return e.rank(a)%3 - e.rank(b)%3 }) // the ends first
	e.compare(paths)
}

func (e *exchanges) rank(path string) int {
	name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".jsonl"), "#")
	return slices.Index(pathHops, name)
}

func (e *exchanges) compare(paths []string) {
	e.t.Helper()
	var found []string
	var all strings.Builder
	sum, err := Path{Files: paths, Hops: e.hops}.Compare(func(f *Finding) {
		found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s", f.Verdict, f.Hop))+" "+f.Dir,
			fmt.Sprintf("%s %s", f.Verdict, f.Dir))
		fmt.Fprintf(&all, "%s %s at %q: %s (conn %s, seq %d)\n", f.Dir, f.Verdict, f.Hop, f.Text, f.Conn, f.Seq)
	})
	if err != nil {
		e.t.Fatal(err)
	}

	for _, want := range e.finds {
		if !slices.Contains(found, want) {
			e.t.Errorf("no finding %q", want)
		}
	}

	if sum.ExitCode() != e.exit {
		e.t.Errorf("exit %d, want %d: %+v", sum.ExitCode(), e.exit, sum)
	}
	if e.t.Failed() {
		e.t.Logf("%s\n%s", paths, &all)
	}
}
