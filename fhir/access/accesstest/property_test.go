package accesstest

import (
	"iter"
	"maps"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// varying is what differs between two answers to the same request.
var varying = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|_page=[A-Za-z0-9_-]+|urn:uuid:[0-9a-f-]+`)

func raw(text string) jsontext.Value { return jsontext.Value(text) }

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// rounds is how many requests are made of one population, each of a kind by chance.
const rounds = 300

// kindsOf are the kinds of interactions, the more often the more there are of them.
func (w *world) kindsOf() []func(*token) {
	return []func(*token){
		w.reading, w.reading, w.searches, w.searches, w.searches, w.histories, w.writes, w.writes, w.same, w.same,
		w.operates, w.later,
	}
}

// Whatever labels and Consents there are, and whatever is asked with whatever token: no
// answer has more than a model, which decides about one resource after another, lets the
// token read; lists have all of that, and totals agree; a change changes no more than
// may be changed; and what is hidden is like what is not there.
//
// ACCESS_SEED is the seed, and ACCESS_COUNT how many there are from that one on.
//
// Covers: FS-302, FS-304, FS-703, FS-704, FS-708, case 236, case 238, case 249
func TestAnswersAreWhatTheirTokensMayRead(t *testing.T) {
	seeds := []uint64{1, 2, 3}
	if text := os.Getenv("ACCESS_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		count, _ := strconv.ParseUint(os.Getenv("ACCESS_COUNT"), 10, 64)
		seeds = nil
		for i := range max(count, 1) {
			seeds = append(seeds, seed+i)
		}
	}

	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { holds(t, seed, rounds) })
	}
}

// FuzzAnswers does the same for seeds that the fuzzer makes.
func FuzzAnswers(f *testing.F) {
	f.Add(uint64(7))
	f.Fuzz(func(t *testing.T, seed uint64) { holds(t, seed, 60) })
}

func holds(t *testing.T, seed uint64, rounds int) {
	t.Logf("ACCESS_SEED=%d", seed)
	w := newWorld(t, seed)
	t.Logf("rules %v, break-glass %d and %v, denied %q, masks %v", w.rules, w.glass, w.passes, w.denied, w.masking)
	all := tokens()

	for range rounds {
		pick(w.rnd, w.kindsOf()...)(pick(w.rnd, all...))
		if t.Failed() {
			return
		}
	}

	for range 3 {
		w.exports(pick(w.rnd, all...))
	}
	if w.found < rounds/4 {
		t.Errorf("only %d resources were found", w.found)
	}
}
