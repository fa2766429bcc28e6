package hint

import (
	_ "embed"
	"slices"
	"strings"
)

// typesText has the names of the resource types of FHIR R4, one a line.
//
//go:embed types.txt
var typesText string

var types = strings.Fields(typesText)

// isFHIR reports whether what follows the FHIR base URL begins with something that FHIR
// has there.
func isFHIR(rest string) bool {
	first, _, _ := strings.Cut(rest, "/")
	return slices.Contains(types, first) ||
		strings.HasPrefix(first, "$") ||
		slices.Contains([]string{"metadata", "_search", "_history", "_jobs"}, first)
}

// nearest returns the word that another was probably meant to be, if it is not one of
// them already.
func nearest(text string, words []string) (string, bool) {
	if text == "" || len(text) > 60 || slices.Contains(words, text) {
		return "", false
	}

	best, least := "", 3
	plain := bare(text)
	for _, w := range words {
		if bare(w) == plain {
			return w, true
		}
		if d := distance(text, w, least); d < least && d*3 < len(w) {
			best, least = w, d
		}
	}

	return best, best != ""
}

// bare returns a word without case and punctuation: grantType and grant_type are alike.
func bare(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, s)
}

// distance counts the letters to change, add or leave out to make one word of another,
// two exchanged neighbours as one. It stops at most.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most
	}

	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}

	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}

		before, last, row = last, row, before
	}

	return last[len(b)]
}
