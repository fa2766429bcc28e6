package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
)

// errSignature: another key made the signature, or it is of something else.
var errSignature = errors.New("jose: the signature is not of this key and these bytes")

// verifySignature reports whether a key made a signature of what is signed (RFC 7518
// 3.3 and 3.4). The algorithm must fit the key, and the signature must have the length
// that signatureSize returns for both.
func verifySignature(alg string, key crypto.PublicKey, signed, signature []byte) error {
	hash := crypto.SHA256
	sum := sha256.Sum256(signed)
	digest := sum[:]
	if alg == "RS384" || alg == "ES384" {
		hash = crypto.SHA384
		longer := sha512.Sum384(signed)
		digest = longer[:]
	}

	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, hash, digest, signature)

	case *ecdsa.PublicKey:
		var room [128]byte
		if ecdsa.VerifyASN1(k, digest, appendDER(room[:0], signature)) {
			return nil
		}
	}

	return errSignature
}

// appendDER writes an ECDSA signature, which has r and s side by side, as a sequence of
// two integers in DER (RFC 3279 2.2.3). Neither r nor s has more than 48 bytes.
func appendDER(b, signature []byte) []byte {
	half := len(signature) / 2
	b = append(b, 0x30, 0) // a sequence, of a length that is set below
	start := len(b)
	b = appendInteger(b, signature[:half])
	b = appendInteger(b, signature[half:])
	b[start-1] = byte(len(b) - start)
	return b
}

// appendInteger writes a number that is not negative, as short as it can be.
func appendInteger(b, number []byte) []byte {
	number = bytes.TrimLeft(number, "\x00")
	if len(number) > 0 && number[0] < 0x80 {
		b = append(b, 2, byte(len(number)))
		return append(b, number...)
	}

	b = append(b, 2, byte(len(number)+1), 0)
	return append(b, number...)
}
