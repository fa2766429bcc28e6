package jose

import (
	"bytes"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// decoder is a jsontext.Decoder that is used again: its stacks are most of what
// reading a small object allocates. It does not look for duplicate names.
type decoder struct {
	jsontext.Decoder
	buffer bytes.Buffer
}

var decoders = sync.Pool{
	New: func() any { return new(decoder) },
}

// newDecoder returns a decoder of data. It must be released; nothing that it has
// returned may be used afterwards, except by offset into data.
func newDecoder(data []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.buffer = *bytes.NewBuffer(data)
	d.Reset(&d.buffer, jsontext.AllowDuplicateNames(true))
	return d
}

func (d *decoder) release() {
	d.buffer = bytes.Buffer{}
	d.Reset(&d.buffer) // so that the data can be freed
	decoders.Put(d)
}
