package oauth

import "strings"

// splitScope takes a scope list apart. Lists of ours have single spaces;
// tolerance for others' is the caller's business.
func splitScope(s string) []string { return strings.Fields(s) }
