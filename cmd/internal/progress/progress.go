// Package progress shows how far long work is: as a bar on a terminal, as a line now
// and then elsewhere.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Bar shows the progress of one piece of work. It is used by one goroutine.
type Bar struct {
	w        io.Writer
	name     string
	terminal bool
	every    time.Duration
	shown    time.Time
	width    int // of what is on the terminal's line
}

// How often a bar is drawn, and a line is written.
const (
	drawEvery  = 100 * time.Millisecond
	writeEvery = 5 * time.Second
	cells      = 24
)

// New returns the bar of work with a name.
func New(w io.Writer, name string) *Bar {
	b := &Bar{
		w:     w,
		name:  name,
		every: writeEvery,
	}

	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
			b.terminal = true
			b.every = drawEvery
		}
	}

	return b
}

// Show shows that percent of the work is done (negative: it is not known), with a
// text such as "1200 resources". It shows nothing if it has just shown something.
func (b *Bar) Show(percent int, text string) {
	if time.Since(b.shown) >= b.every {
		b.show(percent, text)
	}
}

// End shows the end of the work.
func (b *Bar) End(text string) {
	b.show(100, text)
	if b.terminal {
		fmt.Fprintln(b.w)
	}
}

func (b *Bar) show(percent int, text string) {
	b.shown = time.Now()
	line := b.name + ": " + text
	if percent >= 0 {
		percent = min(percent, 100)
		full := percent * cells / 100
		line = fmt.Sprintf("%s [%s%s] %3d%% %s", b.name, strings.Repeat("#", full),
			strings.Repeat(".", cells-full), percent, text)
	}

	if !b.terminal {
		fmt.Fprintln(b.w, line)
		return
	}

	fmt.Fprintf(b.w, "\r%-*s", b.width, line)
	b.width = len(line)
}
