// Package jose reads, verifies and signs compact JSON Web Signatures (RFC 7515)
// strictly: three segments of unpadded base64url without loose bits, JSON
// objects in which no member is present twice, bounded sizes, the algorithms
// RS256, RS384, ES256 and ES384 only, and sound keys.
//
// Nothing here knows what a token means. A caller opens a compact form (Open),
// checks the header (JWS.CheckHeader), finds the one key that must have signed,
// and verifies the signature with it (JWS.Verify). Each rule that does not hold
// is returned as a Fault: what was expected, what was found, and the remedy.
//
// The underlying JOSE library sees only bytes that were checked here first.
package jose
