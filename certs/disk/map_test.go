package disk_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"fhirdest.example/certs/disk"
)

// A file that is mapped is read as one that is not, up to its end; and closing the
// mapping leaves it open.
func TestMappedFilesReadAsOthers(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	for _, n := range []int{0, 1, 4096, len(content)} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()

		m := disk.Map(f, int64(n))
		for _, at := range []int64{0, 1, 4095, 4096, int64(n) - 1, int64(n), int64(n) + 5000, -1} {
			got, want := make([]byte, 16), make([]byte, 16)
			gotN, gotErr := m.ReadAt(got, at)
			wantN, wantErr := f.ReadAt(want, at)
			if gotN != wantN || !bytes.Equal(got, want) || (gotErr == io.EOF) != (wantErr == io.EOF) &&
				at >= 0 || (gotErr == nil) != (wantErr == nil) {
				t.Errorf("%d bytes at %d: %q, %v; want %q, %v", n, at, got[:gotN], gotErr, want[:wantN], wantErr)
			}
		}

		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := f.Stat(); err != nil {
			t.Errorf("the file is closed: %v", err)
		}
	}
}
