package evidence

import (
	"errors"
	"fmt"
	"time"
)

// Verdict says what became of one message between the ends.
type Verdict string

const (
	// Identical: every hop has it, with the same bytes.
	Identical Verdict = "identical"
	// Straight: the two ends have it, with the same bytes, and no hop between.
	Straight Verdict = "straight"
	// Mapped: every hop has what the one before sent, and the hops that changed it
	// did so as their mapped routes say; the first of them is named.
	Mapped Verdict = "mapped"
	// Answered: a hop answered by itself, or ended the request; it says so by
	// having nothing on the other side.
	Answered Verdict = "answered"
	// Differs: a hop has other bytes than the one before sent, or none, or changed
	// them without a mapped route.
	Differs Verdict = "differs"
)

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
	// Conn and Seq find its line in the file of the hop where it was first seen.
	Conn string `json:"conn"`
	Seq  uint64 `json:"seq"`
}

// Summary counts the findings.
type Summary struct {
	Hops      []string `json:"hops"`
	Messages  int64    `json:"messages"`
	Identical int64    `json:"identical"`
	Straight  int64    `json:"straight"`
	Mapped    int64    `json:"mapped"`
	Answered  int64    `json:"answered"`
	Differs   int64    `json:"differs"`
	// Lost and Unreadable count lines that a hop says it lost, and what is no line.
	Lost       int64 `json:"lost"`
	Unreadable int64 `json:"unreadable"`
	// First is the earliest message that differs.
	First *Finding `json:"first,omitempty"`
}

// ExitCode is 0 when no message differs and no line is missing, else 1.
func (s *Summary) ExitCode() int {
	if s.Differs > 0 || s.Lost > 0 || s.Unreadable > 0 {
		return 1
	}
	return 0
}

// Compare reads the evidence files of the hops of one path, from originator to
// destination, and calls each with every message's Finding, as soon as it is sure;
// those of messages that differ come last. Hops named originator and destination are
// put at the ends wherever their files stand. It holds in memory only what is not yet
// matched, so that files of any length can be compared.
//
// A message is known by its bytes, as nothing in it may be changed to mark it: what one
// hop sent is what the next one got. Equal messages are told apart by nothing, and need
// not be. Messages that differ are paired with what is left over at the other hops, by
// method, status and time.
func Compare(paths []string, each func(*Finding)) (*Summary, error) {
	if len(paths) < 2 {
		return nil, errors.New("evidence: two files at least are compared")
	}

	c := &comparison{links: map[link]*queue{}, each: each, window: joinWindow}
	defer c.close()
	if err := c.open(paths); err != nil {
		return nil, err
	}
	if err := c.match(); err != nil {
		return nil, err
	}

	c.leftOver()
	c.count()
	return &c.summary, nil
}

// open opens the files and puts them in order.
func (c *comparison) open(paths []string) error {
	for _, p := range paths {
		r, err := openReader(p)
		if err != nil {
			return fmt.Errorf("evidence: %w", err)
		}
		c.hops = append(c.hops, r)
	}
	c.order()
	c.heard = make([]bool, len(c.hops))
	return nil
}

// comparison is the state of one Compare.
type comparison struct {
	hops    []*reader // in the order of the path
	links   map[link]*queue
	each    func(*Finding)
	summary Summary

	clock  time.Time     // the latest time of all lines so far
	heard  []bool        // hops that have given a line
	window time.Duration // that the lines of one message may lie apart
	aging  []aged        // what may be straight, by when it was taken
	loose  []*message    // parts that wait for nobody, and are not whole
}

// order puts the ends of the path where they belong.
func (c *comparison) order() {
	for i, r := range c.hops {
		if r.name == "originator" {
			copy(c.hops[1:i+1], c.hops[:i])
			c.hops[0] = r
		}
	}

	last := len(c.hops) - 1
	for i, r := range c.hops {
		if r.name == "destination" {
			copy(c.hops[i:last], c.hops[i+1:])
			c.hops[last] = r
			break
		}
	}

	for _, r := range c.hops {
		c.summary.Hops = append(c.summary.Hops, r.name)
	}
}

// match takes lines in order of time, so that few wait for their partners.
func (c *comparison) match() error {
	for {
		hop := -1
		for i, r := range c.hops {
			if r.next != nil && (hop < 0 || r.next.Time.Before(c.hops[hop].next.Time)) {
				hop = i
			}
		}

		if hop < 0 {
			return nil
		}

		c.tick(hop, c.hops[hop].next.Time)
		c.take(hop, c.hops[hop].next)
		c.age() // after take, which may show that a clock is off
		if err := c.hops[hop].advance(); err != nil {
			return err
		}
	}
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

	default:
		s.Differs++
		if s.First == nil || f.Time.Before(s.First.Time) {
			s.First = f
		}
	}

	c.each(f)
}

func (c *comparison) count() {
	for _, r := range c.hops {
		c.summary.Lost += r.lost
		c.summary.Unreadable += r.bad
	}
}

func (c *comparison) close() {
	for _, r := range c.hops {
		r.close()
	}
}
