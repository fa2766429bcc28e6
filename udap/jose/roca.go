package jose

import "math/big"

// rocaPrimes are the odd primes below 168. A modulus of the broken generator
// (CVE-2017-15361) is a power of 65537 modulo each of them; a sound modulus has
// that property with negligible probability.
var rocaPrimes = []int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83,
	89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// looksLikeROCA reports whether the modulus has the generator's fingerprint.
func looksLikeROCA(n *big.Int) bool {
	var r big.Int
	for _, p := range rocaPrimes {
		if !isPowerOf65537(r.Mod(n, big.NewInt(p)).Int64(), p) {
			return false
		}
	}
	return true
}

func isPowerOf65537(residue, p int64) bool {
	g, x := 65537%p, int64(1)
	for i := int64(0); i < p; i++ {
		if x == residue {
			return true
		}
		x = x * g % p
	}
	return false
}
