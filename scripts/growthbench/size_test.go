package main

import (
	"strings"
	"testing"
)

// A population without the page that is measured is refused with the size that has it.
func TestTooSmallNamesTheSizeNeeded(t *testing.T) {
	for _, row := range []struct {
		resources, pages int
		want             string
	}{
		{1000, 200, "-resources at least 5100"},
		{5000, 999, "-resources at least 5100"},
		{7, 1, "-resources at least 7100"},
	} {
		if err := tooSmall(row.resources, row.pages); !strings.HasSuffix(err.Error(), row.want) {
			t.Errorf("%d resources: %v, want %s", row.resources, err, row.want)
		}
	}
}
