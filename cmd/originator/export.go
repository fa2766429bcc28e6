package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/cmd/internal/progress"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/client"
)

// exportState is an export as it is kept in its directory, so that the same command
// goes on with it.
type exportState struct {
	Request  string           `json:"request"`
	Status   string           `json:"status"` // URL
	Manifest *client.Manifest `json:"manifest,omitempty"`
}

const stateFile = "export.json"

// exporting is an export under way.
type exporting struct {
	*call
	cl    client.Bulk
	dir   string
	state exportState
	bar   *progress.Bar
}

// export asks for bulk data, waits for it at the destination's pace, downloads it and
// verifies the counts.
func export(ctx context.Context, c *call) error {
	c.out.result.Command = c.command
	if c.session.Token == "" {
		return complaint.New("there is no token yet", "originator token comes first")
	}
	if err := c.useKey(); err != nil {
		return err
	}

	e := &exporting{
		call: c,
		dir:  c.to,
		bar:  progress.New(c.out.err, "export"),
	}
	if err := e.load(); err != nil {
		return err
	}

	cl, err := c.open()
	if err != nil {
		return err
	}
	defer cl.Close()

	e.cl = client.Bulk{Client: cl}
	if e.state.Status == "" {
		if err := e.begin(ctx); err != nil {
			return err
		}
	}

	if e.state.Manifest == nil {
		if err := e.wait(ctx); err != nil {
			return err
		}
	}

	if err := e.download(ctx); err != nil {
		return err
	}
	return e.finish(ctx)
}

// load finds what an earlier run of the same command left.
func (e *exporting) load() error {
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return complaint.New(err.Error(), "-to names a directory for the files")
	}

	data, err := os.ReadFile(filepath.Join(e.dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}

	if err == nil {
		err = json.Unmarshal(data, &e.state)
	}
	if err != nil {
		return complaint.New(err.Error(), "-to names a new directory, or one of an export that was interrupted")
	}
	if request, _ := e.request(); e.state.Request != request {
		return complaint.New(fmt.Sprintf("%s has another export: %s", e.dir, e.state.Request),
			"name another directory (-to), or repeat the flags of that export")
	}

	return nil
}

func (e *exporting) save() error {
	data, err := json.Marshal(e.state, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	name := filepath.Join(e.dir, stateFile)
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// request is the path of the kick-off, and the Parameters to post, if there are.
func (e *exporting) request() (path string, parameters []byte) {
	level := ""
	if len(e.args) > 0 {
		level = strings.Trim(e.args[0], "/") + "/"
	}

	query := url.Values{}
	for name, value := range map[string]string{
		"_type":                 e.types,
		"_since":                e.since,
		"_until":                e.until,
		"_elements":             e.elements,
		"includeAssociatedData": e.include,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}

	for _, f := range e.filters {
		query.Add("_typeFilter", f)
	}

	path = level + "$export"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	if len(e.patients) == 0 {
		return path, nil
	}

	parameters = []byte(`{"resourceType":"Parameters","parameter":[`)
	for i, p := range e.patients {
		if i > 0 {
			parameters = append(parameters, ',')
		}
		if !strings.Contains(p, "/") {
			p = "Patient/" + p
		}
		parameters = append(parameters, `{"name":"patient","valueReference":{"reference":`...)
		parameters, _ = jsontext.AppendQuote(parameters, p)
		parameters = append(parameters, `}}`...)
	}

	return path, append(parameters, `]}`...)
}

func (e *exporting) begin(ctx context.Context) error {
	path, parameters := e.request()
	out, err := e.cl.Export(ctx, client.ExportRequest{
		Path:       path,
		Parameters: parameters,
		Token:      e.session.Token,
	})
	e.out.result.Outcome = out
	e.out.trace(out.Trace)
	if err != nil {
		return err
	}

	e.state = exportState{
		Request: path,
		Status:  out.Status,
	}
	return e.save()
}

// wait asks for the status, at the destination's pace.
func (e *exporting) wait(ctx context.Context) error {
	for {
		out, err := e.cl.ExportStatus(ctx, e.state.Status, e.session.Token)
		if err != nil {
			e.out.result.Outcome = out
			e.out.trace(out.Trace)
			return err
		}
		if out.Manifest != nil {
			e.out.trace(out.Trace)
			e.state.Manifest = out.Manifest
			return e.save()
		}

		if !e.quiet {
			e.bar.Show(percentOf(out.Progress), out.Progress)
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(out.Retry):
		}
	}
}

// percentOf reads the number before a percent sign; -1 when there is none.
func percentOf(text string) int {
	var n int
	if _, err := fmt.Sscanf(text, "%d%%", &n); err != nil {
		return -1
	}
	return n
}

// exportFile is one file to download.
type exportFile struct {
	client.ExportFile
	list, name string
	lines      int64
}

// files names the files of the manifest after their types.
func (e *exporting) files() []*exportFile {
	var all []*exportFile
	parts := map[string]int{}
	for _, list := range []struct {
		name  string
		files []client.ExportFile
	}{
		{"output", e.state.Manifest.Output},
		{"deleted", e.state.Manifest.Deleted},
		{"error", e.state.Manifest.Error},
	} {
		for _, f := range list.files {
			prefix := "" // a type is the destination's text: it must not lead out of the directory
			if list.name != "output" {
				prefix = list.name + "-"
			}
			prefix += strings.Map(letter, f.Type)
			parts[prefix]++
			all = append(all, &exportFile{
				ExportFile: f,
				list:       list.name,
				name:       fmt.Sprintf("%s.%d.ndjson", prefix, parts[prefix]),
			})
		}
	}

	return all
}

func letter(r rune) rune {
	if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
		return r
	}
	return -1
}

// download downloads all files, some at a time, and verifies each.
func (e *exporting) download(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	files := e.files()
	next := make(chan *exportFile)
	go func() {
		defer close(next)
		for _, f := range files {
			select {
			case next <- f:
			case <-ctx.Done():
				return
			}
		}
	}()

	var mu sync.Mutex // guards all below, and what is printed
	var failed error
	done, lines := 0, int64(0)
	var work sync.WaitGroup

	for range max(e.parallel, 1) {
		work.Go(func() {
			for f := range next {
				read, err := e.one(ctx, f)
				mu.Lock()
				if err != nil && failed == nil {
					failed = err
					e.out.result.Outcome = read
					if read != nil {
						e.out.trace(read.Trace)
					}
					cancel()
				}

				done, lines = done+1, lines+f.lines
				if !e.quiet {
					e.bar.Show(done*100/len(files),
						fmt.Sprintf("%d of %d files, %d resources", done, len(files), lines))
				}
				mu.Unlock()
			}
		})
	}

	work.Wait()

	if failed != nil {
		return failed
	}

	e.count(files)
	return ctx.Err()
}

// one downloads a file unless it is there, and verifies its lines.
func (e *exporting) one(ctx context.Context, f *exportFile) (*client.Read, error) {
	name := filepath.Join(e.dir, f.name)
	if _, err := os.Stat(name); err == nil {
		return nil, f.verify(name)
	}

	part, err := openPart(name + ".part")
	if err != nil {
		return nil, err
	}

	token := e.session.Token
	if !e.state.Manifest.RequiresAccessToken {
		token = ""
	}
	read, err := e.cl.Download(ctx, f.URL, token, part)
	err = errors.Join(err, part.Sync(), part.Close())
	if err == nil {
		err = f.verify(part.Name())
	}

	if err == nil {
		err = os.Rename(part.Name(), name)
	}
	return read, err
}

// verify counts the lines of a file, each of which must be a resource of its type.
func (f *exportFile) verify(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()

	f.lines = 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)

	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}

		f.lines++
		var r struct {
			ResourceType string `json:"resourceType"`
		}
		if err := json.Unmarshal(line, &r); err != nil || r.ResourceType != f.Type {
			return f.bad(name, fmt.Sprintf("line %d is no %s", f.lines, f.Type))
		}
	}

	if err := lines.Err(); err != nil {
		return err
	}

	if f.Count != nil && *f.Count != f.lines {
		return f.bad(name, fmt.Sprintf("it has %d lines; the manifest promises %d", f.lines, *f.Count))
	}
	return nil
}

// bad removes a file that is not what the manifest promises, so that it is downloaded
// again by the next run.
func (f *exportFile) bad(name, why string) error {
	return errors.Join(fmt.Errorf("%s: %s", f.name, why), os.Remove(name))
}

// partFile is a file that is being downloaded.
type partFile struct {
	*os.File
	size int64
}

func openPart(name string) (*partFile, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &partFile{f, st.Size()}, nil
}

func (p *partFile) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	p.size += int64(n)
	return n, err
}

func (p *partFile) Size() int64 { return p.size }

func (p *partFile) Reset() error {
	p.size = 0
	return p.File.Truncate(0)
}

// exported is what was downloaded, as -json prints it.
type exported struct {
	TransactionTime time.Time        `json:"transactionTime"`
	Directory       string           `json:"directory"`
	Counts          map[string]int64 `json:"counts"`
	Deleted         int64            `json:"deleted"`
	Errors          int64            `json:"errors"`
}

func (e *exporting) count(files []*exportFile) {
	all := exported{
		TransactionTime: e.state.Manifest.TransactionTime,
		Directory:       e.dir,
		Counts:          map[string]int64{},
	}

	for _, f := range files {
		switch f.list {
		case "output":
			all.Counts[f.Type] += f.lines
		case "deleted":
			all.Deleted += f.lines
		default:
			all.Errors += f.lines
		}
	}

	e.out.result.Outcome = all
}

// finish prints the counts, and removes the export from the destination.
func (e *exporting) finish(ctx context.Context) error {
	all := e.out.result.Outcome.(exported)
	total := int64(0)
	for _, typ := range slices.Sorted(maps.Keys(all.Counts)) {
		e.out.say("%-24s %d", typ, all.Counts[typ])
		total += all.Counts[typ]
	}

	e.out.say("%d resources, %d deletions, %d messages, as of %s, in %s", total, all.Deleted, all.Errors,
		all.TransactionTime.UTC().Format(time.RFC3339Nano), e.dir)

	if !e.keepThere {
		out, err := e.cl.EndExport(ctx, e.state.Status, e.session.Token)
		e.out.trace(out.Trace)
		if err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(e.dir, stateFile)); err != nil {
			return err
		}
	}

	return e.out.done()
}
