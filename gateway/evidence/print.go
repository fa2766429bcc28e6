package evidence

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Report compares the files, writes one row for each message and a summary to w, as
// a table or as one JSON object {"messages":[…],"summary":{…}}, and returns the exit
// code: 0 when nothing differs, else 1.
func Report(w io.Writer, paths []string, asJSON bool) (int, error) {
	b := bufio.NewWriterSize(w, 64<<10)
	row, end := tableRow(b), tableEnd
	if asJSON {
		row, end = jsonRow(b), jsonEnd
	}
	s, err := Compare(paths, row)
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

		fmt.Fprintf(w, "%-30s %-8s %-7s %6s %10d  %-12.12s  %s", f.Time.UTC().Format("2006-01-02T15:04:05.000000000Z"),
			f.Dir, f.Method, status, f.Bytes, f.SHA256, f.Verdict)
		if f.Hop != "" {
			fmt.Fprintf(w, " at %s: %s (conn %s, seq %d)", f.Hop, f.Text, f.Conn, f.Seq)
		}
		fmt.Fprintln(w)
	}
}

func tableEnd(w io.Writer, s *Summary) {
	fmt.Fprintf(w, "\n%d messages over %d hops (", s.Messages, len(s.Hops))
	for i, h := range s.Hops {
		if i > 0 {
			fmt.Fprint(w, " > ")
		}
		fmt.Fprint(w, h)
	}

	fmt.Fprintf(w, "): %d identical, %d straight, %d mapped by a route, %d answered by a hop itself, %d differ\n",
		s.Identical, s.Straight, s.Mapped, s.Answered, s.Differs)
	if s.Lost+s.Unreadable > 0 {
		fmt.Fprintf(w, "%d lines were lost and %d cannot be read: nothing is known of their messages\n", s.Lost,
			s.Unreadable)
	}
	if s.First != nil {
		fmt.Fprintf(w, "first difference at %s: %s\n", s.First.Hop, s.First.Text)
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
