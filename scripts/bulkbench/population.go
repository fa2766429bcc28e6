package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// population is resources in a file, and what was measured with them.
type population struct {
	dir   string
	file  string
	rows  []resource
	count int
	bytes int64
	opened
}

// resource is one resource with its search terms.
type resource struct {
	key, body []byte
	terms     [][]byte
}

// newPopulation writes the sample of about that many resources to a file.
func newPopulation(dir string, resources int) (*population, error) {
	p := &population{
		dir:  dir,
		file: filepath.Join(dir, "population.ndjson"),
	}
	f, err := os.Create(p.file)
	if err != nil {
		return nil, err
	}

	const some = 20 // patients
	n := 0
	err = sample.Generate(some, func(string, string, []byte) error {
		n++
		return nil
	})
	if err != nil {
		return nil, err
	}

	w := bufio.NewWriter(f)
	x := search.Extractor{}
	err = sample.Generate(max(1, resources*some/n), func(typ, id string, body []byte) error {
		root, err := tree.Parse(body)
		if err != nil {
			return err
		}

		terms, err := x.Extract(typ, root, search.Stamp{ID: id})
		if err != nil {
			return err
		}

		r := resource{
			key:  []byte(typ + "\x00" + id),
			body: slices.Clone(body),
		}
		terms.Each(func(term []byte) bool {
			r.terms = append(r.terms, slices.Clone(term))
			return true
		})

		p.rows = append(p.rows, r)
		p.count++
		p.bytes += int64(len(body)) + 1
		_, err = w.Write(append(body, '\n'))
		return err
	})
	return p, errors.Join(err, w.Flush(), f.Sync(), f.Close())
}

// perTransaction is how many resources a transaction has, as in package fhir/load.
const perTransaction = 2000

// bare stores the resources in a new Bolt file.
func (p *population) bare(
	name string, put func(tx *bbolt.Tx, doc uint64, r *resource) error,
) error {
	db, err := bbolt.Open(filepath.Join(p.dir, name), 0o600, &bbolt.Options{
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 4 << 30,
	})
	if err != nil {
		return err
	}

	err = db.Update(func(tx *bbolt.Tx) error {
		for _, bucket := range []string{"docs", "ids", "index", "log"} {
			if _, err := tx.CreateBucket([]byte(bucket)); err != nil {
				return err
			}
		}
		return nil
	})
	for from := 0; from < len(p.rows) && err == nil; from += perTransaction {
		err = db.Update(func(tx *bbolt.Tx) error {
			for i := from; i < min(from+perTransaction, len(p.rows)); i++ {
				if err := put(tx, uint64(i+1), &p.rows[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}

	return errors.Join(err, db.Close(), os.Remove(filepath.Join(p.dir, name)))
}

// bareBodies stores the bodies by key, with no index.
func (p *population) bareBodies() error {
	return p.bare("bodies.bolt", func(tx *bbolt.Tx, _ uint64, r *resource) error {
		return tx.Bucket([]byte("docs")).Put(r.key, r.body)
	})
}

// bareRows stores the rows that the store has: the body with its terms, the number, the
// change, and the index, whose rows are sorted as the store sorts them.
func (p *population) bareRows() error {
	var keys [][]byte
	return p.bare("rows.bolt", func(tx *bbolt.Tx, doc uint64, r *resource) error {
		number := binary.BigEndian.AppendUint64(nil, doc)
		value := slices.Concat(append(slices.Clone(r.terms), r.key, r.body)...)
		err := errors.Join(
			tx.Bucket([]byte("docs")).Put(number, value),
			tx.Bucket([]byte("ids")).Put(r.key, number),
			tx.Bucket([]byte("log")).Put(number, append(number, number...)))
		for _, term := range r.terms {
			keys = append(
				keys,
				append(append(append(make([]byte, 0, len(term)+9), term...), 0), number...),
			)
		}
		if doc%perTransaction != 0 && int(doc) != len(p.rows) {
			return err
		}

		slices.SortFunc(keys, bytes.Compare)
		for _, k := range keys {
			err = errors.Join(err, tx.Bucket([]byte("index")).Put(k, number[:4]))
		}
		keys = keys[:0]

		return err
	})
}

var background = context.Background()
