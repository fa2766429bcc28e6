package match

import (
	"math"
	"slices"
	"strings"
)

// Grade is a code of the extension match-grade (R4 extension-match-grade.html).
type Grade string

// The grades. CertainlyNot is never disclosed.
const (
	Certain      Grade = "certain"
	Probable     Grade = "probable"
	Possible     Grade = "possible"
	CertainlyNot Grade = "certainly-not"
)

// Verdict is how a candidate compares with the input.
type Verdict struct {
	Score float64 // 0 to 1, with four decimals at most
	Grade Grade
	// edits are the differences in writing of what agrees: the second key of the
	// order.
	edits int
}

// The least score of each grade, and so the most that a score bounded to a grade
// below it has.
const (
	leastCertain  = 0.8
	leastProbable = 0.7
	leastPossible = 0.6
	step          = 0.0001
	underCertain  = 0.7999
	underPossible = 0.5999
)

// Points of what agrees, in half points.
const (
	forNamePart   = 6
	forNearlyPart = 4
	forInitial    = 2
	forMiddleName = 2
	forBirthDate  = 12
	forNearlyBorn = 6
	forPhone      = 4
	forEmail      = 8
	forAddress    = 8
	forPostalCode = 2
	forAnywhere   = 1 // city and state
)

// Compare compares a person with a candidate.
func Compare(input, candidate *Person) Verdict {
	n := compareNames(input.names, candidate.names)
	b, born := compareBirth(input.birth, candidate.birth)
	id, known := compareIdentifiers(input.identifiers, candidate.identifiers)
	points := n.points + b + id + compareContacts(input, candidate) + compareAddresses(input, candidate)
	sexDiffers := differentSex(input.gender, candidate.gender)
	if sexDiffers {
		points -= 4
	}

	most := 1.0
	limit := func(applies bool, score float64) {
		if applies {
			most = min(most, score)
		}
	}
	limit(n.given == differs || n.suffix, below(known, leastProbable, leastPossible))
	limit(born == differs, below(known, leastCertain, leastPossible))

	limit(n.family == differs && n.given == differs, underPossible)
	limit(n.family == differs || sexDiffers, underCertain)
	limit(n.given != agrees && !(known && born == agrees), underCertain)
	limit(n.family != agrees && !(known && born == agrees), underCertain)
	limit(born != agrees && !known, underCertain)

	v := Verdict{
		Score: min(most, scoreOf(points)),
		edits: n.edits,
	}
	v.Grade = gradeOf(v.Score)

	return v
}

// below is the most that a score has under the one grade or the other.
func below(first bool, a, b float64) float64 {
	if first {
		return round(a - step)
	}
	return round(b - step)
}

// scoreOf gives the score of half points.
func scoreOf(points int) float64 {
	p := float64(max(points, 0)) / 2
	if p > 16 {
		return round(leastCertain + 0.19*(1-math.Exp((16-p)/8)))
	}
	return round(p * 0.05)
}

func round(score float64) float64 { return math.Round(score*1e4) / 1e4 }

func gradeOf(score float64) Grade {
	switch {
	case score >= leastCertain:
		return Certain
	case score >= leastProbable:
		return Probable
	case score >= leastPossible:
		return Possible
	}
	return CertainlyNot
}

// relation is how two values of an element compare.
type relation int

const (
	differs relation = iota - 1
	unknown          // one of them is not there, or they neither agree nor differ
	nearly
	agrees
)

// namesCompared is how two lists of names compare.
type namesCompared struct {
	points        int
	family, given relation
	suffix        bool // Jr. and Sr.
	edits         int
}

// compareNames gives the best of all pairs: former names count as present ones.
func compareNames(input, candidate []name) namesCompared {
	best := namesCompared{}
	have := false
	for _, a := range input {
		for _, b := range candidate {
			n := compareName(a, b)
			if turned := compareName(name{a.first(), []string{a.family}, a.suffix}, b); turned.better(n) &&
				turned.family == agrees && turned.given == agrees {
				n = turned
			}
			if !have || n.better(best) {
				best = n
				have = true
			}
		}
	}

	return best
}

func (n namesCompared) better(than namesCompared) bool {
	if n.points != than.points {
		return n.points > than.points
	}
	return n.edits < than.edits
}

func compareName(a, b name) namesCompared {
	n := namesCompared{}
	var edits int
	n.family, edits = comparePart(a.family, b.family)
	if n.family == differs && (within(a.family, b.family) || within(b.family, a.family)) {
		n.family = nearly // one half of a double name
	}
	n.edits += edits

	n.given, edits = comparePart(a.first(), b.first())
	if n.given == differs && len(a.given) > 1 && sameWords(a.given, b.given) {
		n.given = nearly
	}
	n.edits += edits
	n.points = partPoints(n.family) + partPoints(n.given)
	if n.given == unknown && initial(a.first(), b.first()) {
		n.points += forInitial
	}

	if n.given == agrees && len(a.given) > 1 && len(b.given) > 1 {
		if a.given[1] == b.given[1] || initial(a.given[1], b.given[1]) {
			n.points += forMiddleName
		}
	}

	n.suffix = a.suffix != "" && b.suffix != "" && a.suffix != b.suffix
	return n
}

func partPoints(r relation) int {
	switch r {
	case agrees:
		return forNamePart
	case nearly:
		return forNearlyPart
	case differs:
		return -forNamePart
	}
	return 0
}

// comparePart compares two parts of names. By the guide, names that differ by a
// letter, or by two that have changed places, agree.
func comparePart(a, b string) (r relation, edits int) {
	a, b = strings.ReplaceAll(a, " ", ""), strings.ReplaceAll(b, " ", "")
	if a == "" || b == "" || initial(a, b) {
		return unknown, 0
	}

	edits = distance(a, b)
	shorter := min(len([]rune(a)), len([]rune(b)))
	switch {
	case edits == 0, edits == 1 && shorter >= 4:
		return agrees, edits
	case edits == 2 && shorter >= 6:
		return nearly, edits
	}

	return differs, 0
}

// initial reports whether one of two names is the initial of the other.
func initial(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return len([]rune(a)) == 1 && a != b && strings.HasPrefix(b, a)
}

// within reports whether all words of a are words of b.
func within(a, b string) bool {
	words := strings.Fields(b)
	for _, w := range strings.Fields(a) {
		if !slices.Contains(words, w) {
			return false
		}
	}
	return a != "" && b != ""
}

func sameWords(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// maxLetters bounds a name in a comparison by letters.
const maxLetters = 64

// distance counts the letters to add, take away, change, or put in each other's
// place (optimal string alignment); 3 for more than 2.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), maxLetters)], y[:min(len(y), maxLetters)]
	if d := len(x) - len(y); d > 2 || d < -2 {
		return 3
	}

	var before, last, row [maxLetters + 1]int
	for j := range row {
		last[j] = j
	}

	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := last[j-1]
			if x[i-1] != y[j-1] {
				change++
			}
			row[j] = min(change, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}

		before, last = last, row
	}

	return min(last[len(y)], 3)
}

// compareBirth compares dates of birth. A year or month alone agrees, and is
// worth less; day and month in each other's place, and one wrong digit, nearly
// agree.
func compareBirth(a, b string) (points int, r relation) {
	if a == "" || b == "" {
		return 0, unknown
	}
	if a == b && len(a) == len("2006-01-02") {
		return forBirthDate, agrees
	}

	if len(a) != len(b) || len(a) < len("2006-01-02") {
		n := min(len(a), len(b))
		if a[:n] == b[:n] {
			return n, unknown
		}
		return -forBirthDate, differs
	}

	wrong := 0
	for i := range a {
		if a[i] != b[i] {
			wrong++
		}
	}

	if wrong == 1 || a[:4] == b[:4] && a[5:7] == b[8:] && a[8:] == b[5:7] {
		return forNearlyBorn, nearly
	}

	return -forBirthDate, differs
}

// differentSex reports whether two administrative genders contradict each other.
func differentSex(a, b string) bool {
	return a == "male" && b == "female" || a == "female" && b == "male"
}

// compareContacts gives the points of telephones and e-mail addresses: others are
// no contradiction.
func compareContacts(input, candidate *Person) int {
	points := 0
	shared := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(s string) bool {
			return slices.Contains(b, s)
		})
	}
	if shared(input.phones, candidate.phones) {
		points += forPhone
	}

	if shared(input.emails, candidate.emails) {
		points += forEmail
	}

	return points
}

// compareAddresses gives the points of the addresses that agree best. Another
// address is no contradiction: people move.
func compareAddresses(input, candidate *Person) int {
	best := 0
	for _, a := range input.addresses {
		for _, b := range candidate.addresses {
			best = max(best, compareAddress(a, b))
		}
	}
	return best
}

func compareAddress(a, b address) int {
	same := func(x, y string) bool { return x != "" && x == y }
	place := same(a.postal, b.postal) || same(a.city, b.city) && (a.state == b.state || a.state == "" || b.state == "")
	switch {
	case place && (same(a.line, b.line) || a.line != "" && b.line != "" &&
		(strings.HasPrefix(a.line, b.line+" ") || strings.HasPrefix(b.line, a.line+" "))):
		return forAddress
	case same(a.postal, b.postal):
		return forPostalCode
	case same(a.city, b.city) && same(a.state, b.state):
		return forAnywhere
	}

	return 0
}
