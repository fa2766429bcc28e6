package trail

import (
	"maps"
	"strings"
	"testing"
)

// A checkpoint is parsed as it was written, whatever the names of its chains are.
func TestCheckpointText(t *testing.T) {
	place := func(sequence uint64) Place {
		return Place{
			Sequence: sequence,
			Hash:     Hash{byte(sequence), 0xff},
		}
	}
	for name, want := range map[string]Checkpoint{
		"one destination": {"": place(12)},
		"two":             {"east": place(1), "west": place(1 << 40)},
		"with the former": {"": place(7), "east": place(2)},
		"strange names":   {"a=b,c": place(1), "ü &?": place(2)},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := ParseCheckpoint(want.String())
			if !ok || !maps.Equal(got, want) {
				t.Errorf("%q is parsed as %v", want, got)
			}
		})
	}
}

// What String does not write is refused.
func TestNoCheckpoint(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for _, text := range []string{
		"",
		"12",
		"12:",
		"12:abcd",
		"x:" + hash,
		"12:" + hash + ",",
		"=12:" + hash,
		"east=12:" + hash + ",east=13:" + hash,
		"12:" + hash + ",13:" + hash,
		"%zz=12:" + hash,
	} {
		if c, ok := ParseCheckpoint(text); ok {
			t.Errorf("%q is parsed as %v", text, c)
		}
	}
}
