package bolt

import (
	"fmt"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
)

// Damaged is the error for a row whose bytes cannot be what this package once
// wrote there. It is an fhir.ErrDamaged and an oauth.ErrDamaged.
type Damaged struct {
	File    string // path
	Bucket  string
	Key     string // printable: hexadecimal for numbers
	Problem string
}

func (e *Damaged) Error() string {
	return fmt.Sprintf("store %s: bucket %s, key %s: %s: restore the file from a backup",
		e.File, e.Bucket, e.Key, e.Problem)
}

// Is makes the error known to callers that do not know this package.
func (e *Damaged) Is(target error) bool {
	return target == fhir.ErrDamaged || target == oauth.ErrDamaged
}

// printable shows a key: text as it is, everything else in hexadecimal.
func printable(key []byte) string {
	for _, b := range key {
		if b != 0 && (b < ' ' || b > '~') {
			return fmt.Sprintf("%x", key)
		}
	}
	return fmt.Sprintf("%q", key)
}
