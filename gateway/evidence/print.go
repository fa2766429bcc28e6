package evidence

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Report is Path.Report for files, with no hop required.
func Report(w io.Writer, files []string, asJSON bool) (int, error) {
	return Path{Files: files}.Report(w, asJSON)
}

// Report compares the files, writes one row for each message and a summary to w, as
// a table or as one JSON object {"messages":[…],"summary":{…}}, and returns the exit
// code: 0 when nothing differs, else 1.
func (p Path) Report(w io.Writer, asJSON bool) (int, error) {
	b := bufio.NewWriterSize(w, 64<<10)
	row, end := tableRow(b), tableEnd
	if asJSON {
		row, end = jsonRow(b), jsonEnd
	}
	s, err := p.Compare(row)
	if err != nil {
		return 1, err
	}

	end(b, s)
	return s.ExitCode(), b.Flush()
}

func tableRow(w io.Writer) func(*Finding) {
	n := 0
	return func(f *Finding) {
		if n == 0 {
			fmt.Fprintf(w, "%-30s %-8s %-7s %6s %10s  %-12s  %s\n", "TIME", "DIR", "METHOD", "STATUS", "BYTES",
				"SHA-256", "VERDICT")
		}
		n++

		status := "-"
		if f.Status > 0 {
			status = fmt.Sprint(f.Status)
		}
		fmt.Fprintf(w, "%-30s %-8s %-7s %6s %10d  %-12.12s  %s",
			f.Time.UTC().Format("2006-01-02T15:04:05.000000000Z"),
			f.Dir, f.Method, status, f.Bytes, f.SHA256, f.Verdict)
		if f.Hop != "" {
			fmt.Fprintf(w, " at %s", f.Hop)
		}
		if f.Address != "" {
			fmt.Fprintf(w, " via %s", f.Address)
		}

		if f.Text != "" {
			fmt.Fprintf(w, ": %s (conn %s, seq %d)", f.Text, f.Conn, f.Seq)
		}
		fmt.Fprintln(w)
	}
}

func tableEnd(w io.Writer, s *Summary) {
	fmt.Fprintf(w, "\n%d messages over %d hops (%s): %d identical, %d straight, %d mapped by a route, "+
		"%d answered by a hop itself, ", s.Messages, len(s.Hops), strings.Join(s.Hops,
		" > "), s.Identical, s.Straight,
		s.Mapped, s.Answered)
	if s.Late+s.Retried > 0 {
		fmt.Fprintf(w, "%d answered too late, %d lost and sent again, ", s.Late, s.Retried)
	}
	fmt.Fprintf(w, "%d differ\n", s.Differs)

	if s.Lost > 0 || s.Unreadable > 0 {
		fmt.Fprintf(w, "%d lines were lost and %d cannot be read: nothing is known of their messages\n", s.Lost,
			s.Unreadable)
	}

	for _, hop := range s.Missing {
		fmt.Fprintf(w, "%s must be there and has no line\n", hop)
	}

	if s.First != nil {
		fmt.Fprintf(w, "first difference at %s: %s\n", s.First.Hop, s.First.Text)
	}

	fmt.Fprintln(w, "not shown, as a hop between may write of itself what it likes:")
	for _, text := range s.Unknown {
		fmt.Fprintf(w, "- %s\n", text)
	}
}

func jsonRow(w io.Writer) func(*Finding) {
	sep := `{"messages":[` + "\n"
	return func(f *Finding) {
		b, _ := json.Marshal(f) // plain values always marshal
		fmt.Fprintf(w, "%s%s", sep, b)
		sep = ",\n"
	}
}

func jsonEnd(w io.Writer, s *Summary) {
	if s.Messages == 0 {
		fmt.Fprint(w, `{"messages":[`)
	}
	b, _ := json.Marshal(s)
	fmt.Fprintf(w, "],\n\"summary\":%s}\n", b)
}
