package bolt

import (
	"errors"
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
	return fmt.Sprintf("store %s is damaged: bucket %s, key %s: %s; restore the file from a backup",
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

// errClosed is the cause of the error for work that arrives after Close.
var errClosed = errors.New("the file is closed")

// commitError is a transaction that could not be begun or committed: the disk
// is full, failing or read-only, or the file is closed. It is an
// fhir.ErrUnavailable.
type commitError struct {
	file    string
	err     error
	unknown bool // the commit failed: it is not known what reached the disk
}

func (e *commitError) Error() string {
	return fmt.Sprintf("store %s: commit: %v", e.file, e.err)
}

func (e *commitError) Unwrap() error { return e.err }

// Is makes the error known to callers that do not know this package.
func (e *commitError) Is(target error) bool {
	return target == fhir.ErrUnavailable || e.unknown && target == oauth.ErrUnknown
}
