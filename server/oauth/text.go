package oauth

import (
	"fmt"
	"strings"
)

// splitScope takes a scope list apart. Lists of ours have single spaces;
// tolerance for others' is the caller's business.
func splitScope(s string) []string { return strings.Fields(s) }

// abridged names the first of a long list, and says how many more there are.
func abridged(words []string) string {
	const shown = 6
	if len(words) <= shown {
		return strings.Join(words, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:shown], " "), len(words)-shown)
}
