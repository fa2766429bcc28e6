package patch

import (
	"strconv"
	"strings"

	"fhirdest.example/fhir/tree"
)

// equal compares a value with one that was sent: numbers by what they are worth
// (1.5 equals 1.50), members in any order (RFC 6902 4.6).
func (n *node) equal(v *tree.Value) bool {
	if !n.opened {
		return equal(n.source, v)
	}
	if n.kind() != v.Kind {
		return false
	}
	if v.Kind != tree.Object && v.Kind != tree.Array {
		return equal(n.source, v)
	}

	if len(n.children) != len(v.Items) {
		return false
	}

	for i := range n.children {
		other := &v.Items[i]
		if v.Kind == tree.Object {
			other = v.Get(n.children[i].name)
		}
		if other == nil || !n.children[i].equal(other) {
			return false
		}
	}

	return true
}

func equal(a, b *tree.Value) bool {
	if a == nil || b == nil || a.Kind != b.Kind {
		return false
	}

	switch a.Kind {
	case tree.Number:
		return a.Raw == b.Raw || decimalOf(a.Raw) == decimalOf(b.Raw)
	case tree.String:
		return a.Text() == b.Text()
	case tree.Array, tree.Object:
		if len(a.Items) != len(b.Items) {
			return false
		}

		for i := range a.Items {
			other := &b.Items[i]
			if a.Kind == tree.Object {
				other = b.Get(a.Items[i].Name)
			}
			if !equal(&a.Items[i], other) {
				return false
			}
		}
	}

	return true
}

// decimal is a number's exact worth: digits, without zeros at either end, times
// ten to the power of exponent.
type decimal struct {
	negative bool
	digits   string
	exponent int64
}

func decimalOf(raw string) decimal {
	raw, negative := strings.CutPrefix(raw, "-")
	mantissa := raw
	power := ""
	if i := strings.IndexAny(raw, "eE"); i >= 0 {
		mantissa, power = raw[:i], raw[i+1:]
	}

	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent, _ := strconv.ParseInt(power, 10, 32) // "" is 0; out of range is the nearest that is in it
	exponent -= int64(len(fraction))
	digits := strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return decimal{}
	}

	return decimal{negative, trimmed, exponent + int64(len(digits)-len(trimmed))}
}
