package export

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/async"
)

// mediaType is that of the files.
const mediaType = "application/fhir+ndjson"

// maxFile is at how many bytes a file is ended: a slow client must be able to
// download it before the time for one answer is over.
const maxFile = 32 << 20

// output writes the files of an export, those of a type one after the other.
type output struct {
	work  *async.Work
	open  map[string]*async.Writer // by type, or "deleted"
	parts map[string]int
	files []file
}

// file is one file of the manifest.
type file struct {
	Type  string `json:"type"`
	URL   string `json:"url"`
	Count int64  `json:"count"`

	part int
	list string // the member of the manifest: output, deleted or error
}

func newOutput(w *async.Work) *output {
	return &output{
		work:  w,
		open:  map[string]*async.Writer{},
		parts: map[string]int{},
	}
}

// The lists of a manifest, and how the names of their files begin; those of output
// begin with the type.
const (
	listOutput  = "output"
	listDeleted = "deleted"
	listError   = "error"
)

// add writes a resource of a type to a list.
func (o *output) add(list, typ string, body []byte) error {
	key := typ
	if list != listOutput {
		key = list
	}

	f := o.open[key]
	if f == nil {
		o.parts[key]++
		var err error
		if f, err = o.work.Create(fmt.Sprintf("%s.%d.ndjson", key, o.parts[key]), mediaType); err != nil {
			return err
		}
		o.open[key] = f
	}

	if bytes.IndexByte(body, '\n') >= 0 || bytes.IndexByte(body, '\r') >= 0 {
		line := jsontext.Value(bytes.Clone(body))
		if err := line.Compact(); err != nil {
			return err
		}
		body = line
	}

	if err := f.Line(body); err != nil {
		return err
	}
	if f.Size < maxFile {
		return nil
	}

	delete(o.open, key)
	return o.end(f, list, typ, o.parts[key])
}

func (o *output) end(f *async.Writer, list, typ string, part int) error {
	o.files = append(o.files, file{
		Type:  typ,
		URL:   o.work.URL(f.Name),
		Count: f.Count,
		part:  part,
		list:  list,
	})
	return f.Close()
}

// close ends all files.
func (o *output) close() error {
	for _, key := range slices.Sorted(maps.Keys(o.open)) {
		list, typ := listOutput, key
		switch key {
		case listDeleted:
			list, typ = key, "Bundle"
		case listError:
			list, typ = key, "OperationOutcome"
		}

		f := o.open[key]
		delete(o.open, key)
		if err := o.end(f, list, typ, o.parts[key]); err != nil {
			return err
		}
	}

	slices.SortFunc(o.files, func(a, b file) int {
		if a.Type != b.Type {
			return bytes.Compare([]byte(a.Type), []byte(b.Type))
		}
		return a.part - b.part
	})

	return nil
}

// abandon closes the files of an export that failed.
func (o *output) abandon() {
	for _, f := range o.open {
		f.Abandon()
	}
}

// list returns the files of one list of the manifest, never nil.
func (o *output) list(name string) []file {
	all := []file{}
	for _, f := range o.files {
		if f.list == name {
			all = append(all, f)
		}
	}
	return all
}
