package udap

// movedPurpose says what became of a purpose of use that is not allowed.
func movedPurpose(code string) string { return "" }
