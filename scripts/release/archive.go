package main

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// file is one file of an archive.
type file struct {
	name string // from the archive's root, with slashes
	data []byte
	mode fs.FileMode
}

const (
	modeProgram fs.FileMode = 0o755
	modeText    fs.FileMode = 0o644
)

// sortFiles puts files into the one order that archives have.
func sortFiles(files []file) {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
}

// writeArchive writes files in their order to a path, as archive does.
func writeArchive(
	path string,
	files []file,
	at time.Time,
	archive func(io.Writer, []file, time.Time) error,
) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, modeText)
	if err != nil {
		return err
	}
	return errors.Join(archive(out, files, at), out.Close())
}

// tarball writes files of root and of one time.
func tarball(w io.Writer, files []file, at time.Time) error {
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	out := tar.NewWriter(packed)

	for _, f := range files {
		err := out.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg,
			Name:     f.name,
			Size:     int64(len(f.data)),
			Mode:     int64(f.mode),
			ModTime:  at,
			Uname:    "root",
			Gname:    "root",
			Format:   tar.FormatUSTAR,
		})
		if err != nil {
			return err
		}
		if _, err := out.Write(f.data); err != nil {
			return err
		}
	}

	return errors.Join(out.Close(), packed.Close())
}

// zipped writes files of one time.
func zipped(w io.Writer, files []file, at time.Time) error {
	out := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{
			Name:     f.name,
			Method:   zip.Deflate,
			Modified: at,
		}
		header.SetMode(f.mode)

		entry, err := out.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.data); err != nil {
			return err
		}
	}

	return out.Close()
}
