// Package yamlfile reads a program's configuration from YAML, strictly, and
// returns every complaint about it at once.
package yamlfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"fhirdest.example/gateway/complaint"
)

// maxSize bounds a configuration file, in bytes.
const maxSize = 1 << 20

// Read decodes the YAML file at path into the struct that into points to. Keys
// that the struct does not have, values of another type, duplicate keys and
// further documents are complaints, joined into one error; what could be
// decoded is in into even then, so that the caller can go on to check it.
func Read(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return complaint.New(
			fmt.Sprintf("cannot read configuration %s: %v", path, Cause(err)),
			"give the path of a readable YAML file",
		)
	}
	defer f.Close()

	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return complaint.New(
			fmt.Sprintf("cannot read configuration %s: %v", path, Cause(err)),
			"",
		)
	}
	if len(data) > maxSize {
		return complaint.New(
			fmt.Sprintf("%s is longer than %d bytes", path, maxSize),
			"keep certificates and keys in files of their own and name these",
		)
	}

	return Decode(path, data, into)
}

// Cause is the reason of a file error without its operation and path, which
// the message around it already gives.
func Cause(err error) error {
	if pe := (*os.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
