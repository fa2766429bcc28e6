package export

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

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

	closing sync.WaitGroup // files that are complete
	room    chan struct{}  // has one for each that is closed at present

	mu     sync.Mutex // guards failed
	failed error      // of closing
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
		room:  make(chan struct{}, closers),
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
	o.end(f, list, typ, o.parts[key])
	return nil
}

// end closes a file and puts it on a list. add may go on with the next one meanwhile.
func (o *output) end(f *async.Writer, list, typ string, part int) {
	o.files = append(o.files, file{
		Type:  typ,
		URL:   o.work.URL(f.Name),
		Count: f.Count,
		part:  part,
		list:  list,
	})

	o.room <- struct{}{}
	o.closing.Go(func() {
		err := f.Close()
		<-o.room

		o.mu.Lock()
		o.failed = errors.Join(o.failed, err)
		o.mu.Unlock()
	})
}

// closers is how many files are put on disk at once: the disk serves them together.
const closers = 8

// close ends all files, and returns when they are on disk.
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
		o.end(f, list, typ, o.parts[key])
	}

	o.closing.Wait()
	if o.failed != nil {
		return o.failed
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
	o.closing.Wait()
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
