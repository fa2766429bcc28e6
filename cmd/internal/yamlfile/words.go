package yamlfile

import (
	"reflect"
	"time"
)

// kindName describes a value of type t.
func kindName(t reflect.Type) string {
	named, ok := reflect.New(t).Interface().(interface{ KindName() string })
	switch {
	case ok:
		return named.KindName()
	case t == reflect.TypeFor[time.Duration]():
		return "a length of time"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"

	case t.Kind() == reflect.String:
		return "a text"
	}

	return "a " + t.String()
}

func example(want string) string {
	switch want {
	case "a length of time":
		return "write a number with its unit: 500ms, 10s, 5m, 1h"
	case "a list":
		return "write one item a line, each after \"- \""
	case "a text":
		return "put the value in quotes"
	}

	return "write " + want
}

// nearest returns the known key closest to what was written, if it is close
// enough to be a slip of the pen.
func nearest(key string, keys []string) string {
	best, least := "", len(key)/3+2
	for _, k := range keys {
		if d := distance(key, k); d < least {
			best = k
			least = d
		}
	}
	return best
}

// distance is the number of single-byte edits between a and b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}

	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}

	return row[len(b)]
}
