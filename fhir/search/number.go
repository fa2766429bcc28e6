package search

import (
	"bytes"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// decimal is a number exactly as it is written: n times 10 to the power of exp.
// Binary numbers would move the bounds of what 36.6 means (R4 search 3.1.1.4.6).
type decimal struct {
	n   *big.Int
	exp int
}

// maxDigits bounds the text of a number, and maxExponent its magnitude.
const (
	maxDigits   = 64
	maxExponent = 999
)

// parseDecimal parses a number as JSON writes it, or as queries do ("+5", ".5").
func parseDecimal(s string) (decimal, bool) {
	if len(s) > maxDigits {
		return decimal{}, false
	}

	mantissa, exponent, scientific := strings.Cut(strings.ToLower(s), "e")
	d := decimal{}
	if scientific {
		e, err := strconv.Atoi(exponent)
		if err != nil || e < -maxExponent || e > maxExponent {
			return decimal{}, false
		}
		d.exp = e
	}

	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.exp -= len(fraction)
	unsigned := strings.TrimLeft(whole, "+-") + fraction
	if unsigned == "" || strings.Trim(unsigned, "0123456789") != "" {
		return decimal{}, false
	}

	var ok bool
	d.n, ok = new(big.Int).SetString(whole+fraction, 10)

	return d, ok
}

// times10 is the number k/10 times d's, with one more digit: times10(10) is d.
func (d decimal) times10(k int64) decimal {
	return decimal{new(big.Int).Mul(d.n, big.NewInt(k)), d.exp - 1}
}

// bounds are where a number of the written precision may be: 5.4 is 5.35 up to,
// but not including, 5.45.
func (d decimal) bounds() (lo, hi decimal) {
	half := big.NewInt(5)
	at := d.times10(10)
	return decimal{new(big.Int).Sub(at.n, half), at.exp}, decimal{new(big.Int).Add(at.n, half), at.exp}
}

// about is a tenth of the number on either side (R4 search 3.1.1.4.6, ap).
func (d decimal) about() (lo, hi decimal) {
	lo, hi = d.times10(9), d.times10(11)
	if d.n.Sign() < 0 {
		lo, hi = hi, lo
	}
	return lo, hi
}

// An encoded number is bytes whose order is the numbers': a byte for the sign;
// unless it is 0, the power of ten above its first digit in two bytes, its
// digits in pairs of 1 to 100, and a byte 0. Negative ones are inverted after
// the sign. No encoded number is the beginning of another.
const (
	belowAll = 0x00 // less than every number: a range without a low end
	negative = 0x01
	zero     = 0x02
	positive = 0x03
	aboveAll = 0x04
)

func (d decimal) appendTo(b []byte) []byte {
	sign := d.n.Sign()
	if sign == 0 {
		return append(b, zero)
	}

	digits := new(big.Int).Abs(d.n).String()
	power := len(digits) + d.exp + 1<<15
	if digits = strings.TrimRight(digits, "0"); len(digits)%2 != 0 {
		digits += "0"
	}

	b = append(b, positive)
	at := len(b)
	b = append(b, byte(power>>8), byte(power))
	for i := 0; i < len(digits); i += 2 {
		b = append(b, (digits[i]-'0')*10+digits[i+1]-'0'+1)
	}

	b = append(b, 0)
	if sign > 0 {
		return b
	}

	b[at-1] = negative
	for i := at; i < len(b); i++ {
		b[i] = ^b[i]
	}

	return b
}

func (d decimal) encoded() []byte {
	return d.appendTo(nil)
}

// cutNumber splits an encoded number from what follows it.
func cutNumber(b []byte) (number, rest []byte) {
	end := byte(0)
	switch {
	case len(b) == 0:
		return nil, nil
	case b[0] == negative:
		end = 0xff
	case b[0] != positive:
		return b[:1], b[1:]
	}

	if len(b) < 3 {
		return b, nil
	}

	i := slices.Index(b[3:], end)
	if i < 0 {
		return b, nil
	}
	return b[:i+4], b[i+4:]
}

// The value of a quantity or number is a class, one encoded number or both ends
// of a range, and of a quantity its unit.
const (
	point    = 'n'
	interval = 'r'
)

// ends returns both ends of a value and what follows them.
func ends(value []byte) (lo, hi, rest []byte) {
	if len(value) == 0 {
		return nil, nil, nil
	}

	lo, rest = cutNumber(value[1:])
	if value[0] == point {
		return lo, lo, rest
	}

	hi, rest = cutNumber(rest)
	return lo, hi, rest
}

// comparison is a prefix and a number of a query: which ends of a value pass,
// and the stretch in which the points among them are (nil for no bound).
type comparison struct {
	from, to []byte
	passes   func(lo, hi []byte) bool
}

// compareNumber returns the comparison that a query asks for (R4 search
// 3.1.1.4.6 and 3.1.1.4.7.1): eq, ne and ap have the precision that is written,
// the others the exact number.
func compareNumber(prefix, s string) (comparison, bool) {
	d, ok := parseDecimal(s)
	if !ok {
		return comparison{}, false
	}

	is := d.encoded()
	below, above := d.bounds()
	from, to := below.encoded(), above.encoded()
	less := func(a, b []byte) bool {
		return bytes.Compare(a, b) < 0
	}
	within := func(lo, hi []byte) bool {
		return !less(lo, from) && less(hi, to)
	}

	switch prefix {
	case "eq":
		return comparison{from, to, within}, true
	case "ne":
		return comparison{nil, nil, func(lo, hi []byte) bool {
			return !within(lo, hi)
		}}, true
	case "gt":
		return comparison{is, nil, func(_, hi []byte) bool {
			return less(is, hi)
		}}, true

	case "ge":
		return comparison{is, nil, func(_, hi []byte) bool {
			return !less(hi, is)
		}}, true

	case "lt":
		return comparison{nil, is, func(lo, _ []byte) bool {
			return less(lo, is)
		}}, true
	case "le":
		return comparison{nil, is, func(lo, _ []byte) bool {
			return !less(is, lo)
		}}, true

	case "sa":
		return comparison{is, nil, func(lo, _ []byte) bool {
			return less(is, lo)
		}}, true
	case "eb":
		return comparison{nil, is, func(_, hi []byte) bool {
			return less(hi, is)
		}}, true

	case "ap":
		below, above := d.about()
		from, to := below.encoded(), above.encoded()
		return comparison{from, to, func(lo, hi []byte) bool {
			return !less(to, lo) && !less(hi, from)
		}}, true
	}

	return comparison{}, false
}
