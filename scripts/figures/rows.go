package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// dialect lists words that a private dialect is recognised by when they are
// common in comments. Of 10,000 words in comments, well-kept Go programs have
// at most the number in most.
var dialect = []struct {
	name  string
	forms []string
	most  float64
}{
	{"stand", []string{"stand", "stands", "stood"}, 2},
	{"tell", []string{"tell", "tells", "told"}, 3},
	{"judge", []string{"judge", "judges", "judged"}, 3},
	{"say", []string{"say", "says", "said"}, 8},
}

// Limits of this project, which -check holds.
const (
	mostFilesInPackage = 36
	mostMethods        = 39
	mostTokensPerLine  = 5.5
	leastBlank         = 4.0
	mostBlank          = 10.0
)

// row is one figure of the table.
type row struct{ name, value string }

func (t *tree) rows() []row {
	lines := sorted(t.functions, func(f function) int {
		return f.lines
	})
	tokens := sorted(t.functions, func(f function) int {
		return f.tokens
	})
	branching := sorted(t.functions, func(f function) int {
		return f.branching
	})
	largest, methods := most(t.methods)
	fullest, files := most(t.packages)

	rows := []row{
		{"packages / files", fmt.Sprintf("%d / %d", len(t.packages), t.files)},
		{"lines a file", fmt.Sprintf("%d", t.lines/t.files)},
		{"tokens a line", fmt.Sprintf("%.2f", t.tokensPerLine())},
		{"blank lines in function bodies", fmt.Sprintf("%.1f %%", t.blank())},
		{
			"lines over 120 columns (longest)",
			fmt.Sprintf("%.2f %% (%d)", share(len(t.wideAt), t.lines), t.longest),
		},
		{"function lines, median / 90th / longest", spread(lines, 50, 90)},
		{"function tokens, median", fmt.Sprintf("%d", percentile(tokens, 50))},
		{"cyclomatic, 99th / longest", spread(branching, 99)},
		{"exported names per 1,000 lines", fmt.Sprintf("%d", t.exported*1000/t.lines)},
		{"comment lines", fmt.Sprintf("%.0f %%", share(t.commentLines, t.lines))},
		{"methods of the largest type", fmt.Sprintf("%d (%s)", methods, largest)},
		{"files of the largest package", fmt.Sprintf("%d (%s)", files, fullest)},
	}

	for _, d := range dialect {
		name := "\"" + d.name + "\" in comments, per 10,000 words"
		rows = append(rows, row{name, fmt.Sprintf("%.0f", t.perTenThousand(d.name))})
	}

	return rows
}

// complaints returns every limit that is exceeded.
func (t *tree) complaints() []string {
	var out []string
	over := func(bad bool, format string, args ...any) {
		if bad {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}

	over(t.tokensPerLine() > mostTokensPerLine, "%.2f tokens a line, at most %.1f", t.tokensPerLine(),
		mostTokensPerLine)
	over(t.blank() < leastBlank || t.blank() > mostBlank,
		"%.1f %% blank lines in function bodies, %.0f to %.0f", t.blank(), leastBlank, mostBlank)

	for _, at := range t.wideAt {
		over(true, "%s, at most %d", at, columns)
	}

	for _, name := range slices.Sorted(maps.Keys(t.methods)) {
		over(
			t.methods[name] > mostMethods,
			"%s has %d methods, at most %d",
			name,
			t.methods[name],
			mostMethods,
		)
	}

	for _, name := range slices.Sorted(maps.Keys(t.packages)) {
		over(t.packages[name] > mostFilesInPackage, "%s has %d files, at most %d", name, t.packages[name],
			mostFilesInPackage)
	}

	for _, d := range dialect {
		n := t.perTenThousand(d.name)
		over(
			n > d.most,
			"%q is %.0f times in 10,000 words of comments, at most %.0f",
			d.name,
			n,
			d.most,
		)
	}

	return out
}

func (t *tree) tokensPerLine() float64 {
	return float64(t.tokens) / float64(max(1, t.lines))
}

func (t *tree) blank() float64 {
	return share(t.blankLines, t.bodyLines)
}

func (t *tree) perTenThousand(word string) float64 {
	return float64(t.dialect[word]) * 10000 / float64(max(1, t.words))
}

func share(part, whole int) float64 {
	return float64(part) * 100 / float64(max(1, whole))
}

func sorted(functions []function, of func(function) int) []int {
	out := make([]int, 0, len(functions))
	for _, f := range functions {
		out = append(out, of(f))
	}
	slices.Sort(out)
	return out
}

func percentile(sorted []int, p int) int {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// spread writes the percentiles named and the largest value.
func spread(sorted []int, percentiles ...int) string {
	out := ""
	for _, p := range percentiles {
		out += fmt.Sprintf("%d / ", percentile(sorted, p))
	}
	return out + fmt.Sprint(percentile(sorted, 100))
}

// most returns the largest entry, of equal ones the first by name.
func most(counts map[string]int) (string, int) {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b))
	})
	if len(names) == 0 {
		return "", 0
	}
	return names[0], counts[names[0]]
}
