package jose

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"testing"
)

// What appendDER writes is what encoding/asn1 writes of the same two numbers.
func TestSignaturesInDER(t *testing.T) {
	for _, size := range []int{32, 48} {
		for name, half := range map[string][]byte{
			"zero":           make([]byte, size),
			"one":            append(make([]byte, size-1), 1),
			"a leading zero": append([]byte{0, 0x80}, bytes.Repeat([]byte{7}, size-2)...),
			"a high bit":     bytes.Repeat([]byte{0xff}, size),
			"no high bit":    bytes.Repeat([]byte{0x7f}, size),
		} {
			t.Run(name, func(t *testing.T) {
				other := bytes.Repeat([]byte{0x81}, size)
				for _, signature := range [][]byte{
					append(bytes.Clone(half), other...),
					append(bytes.Clone(other), half...),
				} {
					want, err := asn1.Marshal(struct{ R, S *big.Int }{
						new(big.Int).SetBytes(signature[:size]),
						new(big.Int).SetBytes(signature[size:]),
					})
					if err != nil {
						t.Fatal(err)
					}
					if got := appendDER(nil, signature); !bytes.Equal(got, want) {
						t.Errorf("%x is written %x, want %x", signature, got, want)
					}
				}
			})
		}
	}
}
