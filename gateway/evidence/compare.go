package evidence

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Verdict is the outcome for one message between the ends.
type Verdict string

const (
	// Identical: every hop has it, with the same bytes.
	Identical Verdict = "identical"
	// Straight: the two ends have it, with the same bytes, and no hop between.
	Straight Verdict = "straight"
	// Mapped: every hop received what the one before sent, and the hops that changed it
	// did so as their mapped routes demand; the first of them is named.
	Mapped Verdict = "mapped"
	// Answered: a hop answered by itself, with an error that a gateway may answer, or
	// ended the request with such an answer.
	Answered Verdict = "answered"
	// Late: the answer came when a hop had given up waiting and answered 502 or 504, or
	// when the originator had asked again.
	Late Verdict = "late"
	// Retried: the request was lost on its way, without an answer, and the originator
	// sent it again.
	Retried Verdict = "retried"
	// Differs: a hop has other bytes than the one before sent, or none, or changed them
	// without a mapped route; or the message does not fit the exchange, the connection,
	// the order or the time of the other hops.
	Differs Verdict = "differs"
)

// RouteStraight is the route in the lines of an originator that has sent a request past
// the hops between, knowingly.
const RouteStraight = "straight"

// Finding is the outcome for one message.
type Finding struct {
	Time    time.Time `json:"time"`
	Dir     string    `json:"dir"`
	Method  string    `json:"method"`
	Status  int       `json:"status,omitempty"`
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"`
	Verdict Verdict   `json:"verdict"`
	// Hop is the first hop, in the direction of the message, where it differs, that
	// mapped it, or that answered by itself.
	Hop string `json:"hop,omitempty"`
	// Text explains Hop.
	Text string `json:"text,omitempty"`
	// Address is where it went, or came from: that which the last hop with several addresses
	// of its next hop chose. Empty: there is none.
	Address string `json:"address,omitempty"`
	// Conn and Seq find its line in the file of the hop where it was first seen.
	Conn string `json:"conn"`
	Seq  uint64 `json:"seq"`
	// Places are the hops that have it, from the originator on.
	Places []Place `json:"-"`
	// Wire is where it differs: the one that leads to Hops[Wire] from the hop before; 0
	// where it does not.
	Wire int `json:"-"`
}

// Place is where one hop has a message.
type Place struct {
	Index int // of Summary.Hops
	Hop   string
	Conn  string
	Seq   uint64
}

// Summary counts the findings.
type Summary struct {
	Hops      []string `json:"hops"`
	Messages  int64    `json:"messages"`
	Identical int64    `json:"identical"`
	Straight  int64    `json:"straight"`
	Mapped    int64    `json:"mapped"`
	Answered  int64    `json:"answered"`
	Late      int64    `json:"late"`
	Retried   int64    `json:"retried"`
	Differs   int64    `json:"differs"`
	// Lost and Unreadable count lines that a hop reports as lost, and what is no line.
	Lost       int64 `json:"lost"`
	Unreadable int64 `json:"unreadable"`
	// Missing are hops that were required and have no line at all.
	Missing []string `json:"missing,omitempty"`
	// First is the earliest message that differs.
	First *Finding `json:"first,omitempty"`
	// Unknown lists what this comparison cannot show.
	Unknown []string `json:"unknown,omitempty"`
}

// ExitCode is 0 when no message differs, no line is missing and no required hop, else 1.
func (s *Summary) ExitCode() int {
	if s.Differs > 0 || s.Lost > 0 || s.Unreadable > 0 || len(s.Missing) > 0 {
		return 1
	}
	return 0
}

// Path is what is compared.
type Path struct {
	// Files are the evidence files of the hops, from originator to destination; several
	// of these two are files of one hop, as of two originators.
	Files []string
	// Hops names the hops that every exchange must have passed, in their order. Empty:
	// those whose files are compared; what the ends alone have is straight then. Else
	// only what the originator itself has as straight is.
	Hops []string
}

// Compare is Path.Compare for files, with no hop required.
func Compare(files []string, each func(*Finding)) (*Summary, error) {
	return Path{Files: files}.Compare(each)
}

// Compare reads the evidence files of the hops of one path and calls each with every
// message's Finding, as soon as it is sure; those of exchanges that differ come last.
// Hops named originator and destination are put at the ends wherever their files are
// named. Only what is not yet matched is held in memory, so that files of any length can
// be compared, whatever the clocks of the hops.
//
// An exchange is known by its bytes, as nothing in it may be changed to mark it: the
// request that one hop sent and the answers that it received to it are those that the
// next one received and sent. Exchanges that are equal in all bytes are not told apart.
// Those that differ are paired by what they still have in common: the request, the
// answer, or method and time. Then connections, numbers and times of the hops must fit
// together.
func (p Path) Compare(each func(*Finding)) (*Summary, error) {
	if len(p.Files) < 2 {
		return nil, errors.New("evidence: two files at least are compared")
	}

	c := newComparison(p.Hops, each)
	defer c.close()
	if err := c.open(p.Files); err != nil {
		return nil, err
	}
	if err := c.match(); err != nil {
		return nil, err
	}

	if err := c.leftOver(); err != nil {
		return nil, err
	}

	c.count()
	return &c.summary, nil
}

// comparison is the state of one Compare.
type comparison struct {
	sources  []*source
	hops     []string // names, in the order of the path
	required []string
	links    map[link]*queue
	each     func(*Finding)
	summary  Summary

	aging  []*chain // of the originator, by when they were taken: may be straight
	loose  []*chain // parts that wait for nobody, and are not whole
	recent recent   // exchanges that are whole, until it is known which equal others
	clocks []clock  // by hop
	retry  map[key][]retried
	sent   map[key]Place // final answers of the last hop that nobody received
}

func newComparison(required []string, each func(*Finding)) *comparison {
	return &comparison{
		links:    map[link]*queue{},
		each:     each,
		required: required,
		recent:   recent{counts: map[linkKey]int{}},
	}
}

// open opens the files and puts them in order.
func (c *comparison) open(paths []string) error {
	for _, p := range paths {
		r, err := openReader(p)
		if err != nil {
			return fmt.Errorf("evidence: %w", err)
		}
		c.sources = append(c.sources, &source{
			reader: r,
			conns:  map[string]*conn{},
		})
	}

	return c.order()
}

// The names of the ends of a path.
const (
	originator  = "originator"
	destination = "destination"
)

// order puts the hops into the order of the path: as they are required, or else as the
// files are named, with the ends where they belong.
func (c *comparison) order() error {
	slices.SortStableFunc(c.sources, func(a, b *source) int {
		return c.rank(a) - c.rank(b)
	})

	for i, s := range c.sources {
		end := s.name == originator || s.name == destination
		same := i > 0 && end && s.name == c.sources[i-1].name && s.path != c.sources[i-1].path
		if !same {
			c.hops = append(c.hops, s.name)
		}
		s.hop = len(c.hops) - 1
	}

	for i, name := range c.required {
		if name == "" || slices.Contains(c.required[:i], name) {
			return fmt.Errorf("evidence: required hops %s: each has a name, and once",
				strings.Join(c.required, ","))
		}
		if !slices.ContainsFunc(c.sources, func(s *source) bool {
			return s.name == name && s.next != nil
		}) {
			c.summary.Missing = append(c.summary.Missing, name)
		}
	}

	if len(c.hops) < 2 {
		return errors.New("evidence: files of two hops at least are compared")
	}

	c.sources[0].tuned = true
	c.clocks = make([]clock, len(c.hops))
	c.summary.Hops = c.hops
	return nil
}

// rank returns a hop's place before its file's place among the files counts.
func (c *comparison) rank(s *source) int {
	switch {
	case s.name == originator:
		return -1
	case s.name == destination:
		return math.MaxInt32
	}
	return slices.Index(c.required, s.name) + 1
}

// match takes all lines.
func (c *comparison) match() error {
	for {
		more, err := c.step()
		if err != nil || !more {
			return err
		}
	}
}

// step takes the next line; more reports whether there was one.
func (c *comparison) step() (more bool, err error) {
	s := c.pick()
	if s == nil {
		return false, nil
	}

	if x := s.assemble(s.next); x != nil {
		c.place(x)
	}
	if s.taken++; s.taken == tuneBy {
		s.tuned = true
	}
	c.age()

	return true, s.advance()
}

// report counts a finding and hands it on.
func (c *comparison) report(f *Finding) {
	s := &c.summary
	s.Messages++
	switch f.Verdict {
	case Identical:
		s.Identical++
	case Straight:
		s.Straight++
	case Mapped:
		s.Mapped++
	case Answered:
		s.Answered++

	case Late:
		s.Late++
	case Retried:
		s.Retried++

	default:
		s.Differs++
		if s.First == nil || f.Time.Before(s.First.Time) {
			s.First = f
		}
	}

	c.each(f)
}

// count completes the summary.
func (c *comparison) count() {
	for _, s := range c.sources {
		c.summary.Lost = addUp(c.summary.Lost, s.lost)
		c.summary.Unreadable = addUp(c.summary.Unreadable, s.bad)
	}
	c.summary.Unknown = c.unknown()
}

// addUp adds two counts, of which the sum is no more than the greatest number: a file may
// claim that any number of lines was lost.
func addUp(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func (c *comparison) close() {
	for _, s := range c.sources {
		s.close()
	}
}
