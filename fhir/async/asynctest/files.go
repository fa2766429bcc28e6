package asynctest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"fhirdest.example/fhir/async"
)

// FilesSubject is a store of files under test, with that of their jobs.
type FilesSubject struct {
	Store async.Store
	Files async.Files
	// Second is another destination's; nil where one process alone may have them.
	Second async.Files
}

// any returns one of the destinations' stores.
func (s FilesSubject) any(i int) async.Files {
	if i%2 == 1 && s.Second != nil {
		return s.Second
	}
	return s.Files
}

// FilesTest holds an empty store of files against what package async relies on.
func FilesTest(t *testing.T, open func(t *testing.T) FilesSubject) {
	for name, test := range map[string]func(*testing.T, FilesSubject){
		"a file":                wholeFile,
		"an attempt after one":  begunAgain,
		"room":                  filesRoom,
		"room of what is asked": bodyRoom,
		"files of no job":       orphans,
		"an attempt too late":   tooLate,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// begin creates a job with a body and claims it.
func (s FilesSubject) begin(t *testing.T, id string, body []byte) async.Attempt {
	t.Helper()
	j := Job(id, "c1", noon)
	j.Bytes = int64(len(body))
	if err := s.Files.Keep(t.Context(), id, "c1", body, wide); err != nil {
		t.Fatal(err)
	}
	create(t, s.Store, j, wide)
	return s.claim(t)
}

// claim begins an attempt at the only job.
func (s FilesSubject) claim(t *testing.T) async.Attempt {
	t.Helper()
	job, err := s.Store.Claim(t.Context(), 1, nil)
	if err != nil {
		job = again(t, s.Store)
	}
	return attempt(job)
}

// write makes a file of an attempt.
func write(t *testing.T, f async.Files, a async.Attempt, name string, content []byte, r async.Room) error {
	t.Helper()
	w, err := f.Create(t.Context(), a, name, r)
	if err != nil {
		return err
	}

	for step := 1; len(content) > 0; step = step*7%100_003 + 1 {
		n := min(step, len(content))
		if _, err := w.Write(content[:n]); err != nil {
			w.Abandon()
			return err
		}
		content = content[n:]
	}
	return w.Close()
}

// read returns a whole file.
func read(t *testing.T, f async.Files, a async.Attempt, name string) ([]byte, error) {
	t.Helper()
	r, err := f.Open(t.Context(), a, name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// numbered returns n bytes that do not repeat soon.
func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func wholeFile(t *testing.T, s FilesSubject) {
	body := numbered(1 << 20)
	a := s.begin(t, "a", body)
	got, err := s.any(1).Begin(t.Context(), a)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("the request's body: %v, %d bytes", err, len(got))
	}

	for name, content := range map[string][]byte{
		"large": numbered(2_500_000),
		"empty": {},
		"small": []byte("x\n"),
	} {
		if err := write(t, s.Files, a, name, content, wide); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range 2 {
			if got, err := read(t, s.any(i), a, name); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %v, %d bytes", name, err, len(got))
			}
		}
	}

	if _, err := read(t, s.Files, a, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	parts(t, s.any(1), a, numbered(2_500_000))
	if err := s.any(1).Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, err := read(t, s.Files, a, "large"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was removed: %v", err)
	}
}

// parts reads a file from several places.
func parts(t *testing.T, f async.Files, a async.Attempt, content []byte) {
	t.Helper()
	r, err := f.Open(t.Context(), a, "large")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	size := int64(len(content))
	if end, err := r.Seek(0, io.SeekEnd); err != nil || end != size {
		t.Errorf("its size: %v %d", err, end)
	}
	for _, at := range []int64{size - 5, 0, 262_143, 262_144, 1_700_000, size} {
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 1000)
		n, err := io.ReadFull(r, part)
		want := content[at:min(at+1000, size)]
		if n != len(want) || !bytes.Equal(part[:n], want) || n == 1000 && err != nil {
			t.Errorf("from %d: %v, %d bytes", at, err, n)
		}
	}
}

func begunAgain(t *testing.T, s FilesSubject) {
	body := []byte("body")
	first := s.begin(t, "a", body)
	if _, err := s.Files.Begin(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := write(t, s.Files, first, "1", numbered(10), wide); err != nil {
		t.Fatal(err)
	}

	second := s.claim(t)
	got, err := s.any(1).Begin(t.Context(), second)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("the body, again: %v %q", err, got)
	}
	if _, err := read(t, s.Files, second, "1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the earlier attempt's file: %v", err)
	}
	if err := write(t, s.any(1), second, "1", []byte("new"), wide); err != nil {
		t.Error(err)
	}
	if got, err := read(t, s.Files, second, "1"); err != nil || string(got) != "new" {
		t.Errorf("%v %q", err, got)
	}
}

func filesRoom(t *testing.T, s FilesSubject) {
	a := s.begin(t, "a", nil)
	if _, err := s.Files.Begin(t.Context(), a); err != nil {
		t.Fatal(err)
	}

	small := wide
	small.Disk = 1 << 20
	if err := write(t, s.Files, a, "0", numbered(700_000), small); err != nil {
		t.Errorf("within the room of all: %v", err)
	}
	// A change of the job forgets nothing of what its files have.
	if err := s.Store.Update(t.Context(), "a", func(*async.Job) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := write(t, s.Files, a, "1", numbered(700_000), small); !errors.Is(err, async.ErrNoRoom) {
		t.Errorf("over the room of all: %v", err)
	}
	if err := s.Files.Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}

	a = s.claim(t)
	if _, err := s.Files.Begin(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	small = wide
	small.Share = 1 << 20
	if err := write(t, s.any(1), a, "2", numbered(1<<19), small); err != nil {
		t.Errorf("within the share of a client: %v", err)
	}
	if err := write(t, s.Files, a, "3", numbered(1<<20), small); !errors.Is(err, async.ErrNoShare) {
		t.Errorf("over it: %v", err)
	}
}

func bodyRoom(t *testing.T, s FilesSubject) {
	small := wide
	small.Share = 1000
	err := s.Files.Keep(t.Context(), "a", "c1", numbered(1001), small)
	if !errors.Is(err, async.ErrNoShare) {
		t.Errorf("a body over the client's share: %v", err)
	}
	if err := s.Files.Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if err := s.Files.Keep(t.Context(), "b", "c1", numbered(1000), small); err != nil {
		t.Errorf("one that has room: %v", err)
	}
}

// orphans is about what a start finds.
func orphans(t *testing.T, s FilesSubject) {
	a := s.begin(t, "a", []byte("body"))
	if _, err := s.Files.Begin(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := write(t, s.Files, a, "1", []byte("x"), wide); err != nil {
		t.Fatal(err)
	}

	job, err := s.Store.Job(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Files.Recover(t.Context(), []async.Job{job}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, s.Files, a, "1"); err != nil || string(got) != "x" {
		t.Errorf("the file of a job that is there: %v %q", err, got)
	}
	if err := s.Files.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
}

// tooLate is about an attempt after which there was another, or whose job was removed.
func tooLate(t *testing.T, s FilesSubject) {
	if s.Second == nil {
		t.Log("one process alone has these files")
		return
	}

	first := s.begin(t, "a", nil)
	if _, err := s.Files.Begin(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	second := s.claim(t)
	if err := write(t, s.Files, first, "1", []byte("x"), wide); !errors.Is(err, async.ErrTaken) {
		t.Errorf("a file of the first attempt: %v", err)
	}
	if _, err := s.Files.Begin(t.Context(), first); !errors.Is(err, async.ErrTaken) {
		t.Errorf("the first attempt begins: %v", err)
	}

	if _, err := s.Second.Begin(t.Context(), second); err != nil {
		t.Error(err)
	}
	if err := s.Store.Update(t.Context(), "a", func(j *async.Job) error {
		j.State, j.Ended, j.Expires = async.Failed, noon, noon
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := write(t, s.Second, second, "1", []byte("x"), wide); !errors.Is(err, async.ErrTaken) {
		t.Errorf("a file of an attempt that has ended: %v", err)
	}

	if err := s.Store.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := write(t, s.Second, second, "1", []byte("x"), wide); !errors.Is(err, async.ErrNoJob) {
		t.Errorf("a file of a job that was removed: %v", err)
	}
}
