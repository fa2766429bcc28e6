package trace_test

import (
	"testing"
	"time"

	"fhirdest.example/udap/trace"
)

// What a reader would not see in a text from outside is replaced wherever a trace
// shows the text.
func TestInvisibleCharactersAreReplaced(t *testing.T) {
	for r, want := range map[rune]bool{
		'a':      true,
		' ':      true,
		'é':      true,
		'漢':      true,
		'\u0335': true,
		'\u200b': false,
		'\u202e': false,
		'\u115f': false,
		'\u3164': false,
		'\uffa0': false,
		'\u2800': false,
		'\x1b':   false,
	} {
		if trace.Visible(r) != want {
			t.Errorf("%+q is visible: %v", r, !want)
		}

		tr := trace.NewTrace("test", time.Unix(0, 0))
		tr.Pass(collected[0], "a text", string(r))
		found := tr.Steps[0].Found
		if (found == string(r)) != want {
			t.Errorf("%+q is shown as %+q", r, found)
		}
	}
}
