package postgres

import (
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/search"
)

// methods are the ways to make a version, by the number that a row has.
var methods = []string{"", "POST", "PUT", "PATCH"}

// columns are the values of a row of doc or version that need translation.
type columns struct {
	updated int64
	method  int16
}

func columnsOf(e fhir.Entry) columns {
	return columns{
		updated: e.Updated.UnixMilli(),
		method:  int16(max(0, slices.Index(methods, e.Method))),
	}
}

// give sets the fields of an entry.
func (c columns) give(e *fhir.Entry) {
	e.Updated = time.UnixMilli(c.updated).UTC()
	if c.method > 0 && int(c.method) < len(methods) {
		e.Method = methods[c.method]
	}
}

// scanEntry reads a row of entryColumns.
func scanEntry(rows pgx.Rows) (e fhir.Entry, err error) {
	var c columns
	err = rows.Scan(
		&e.Doc,
		&e.Version,
		&c.updated,
		&c.method,
		&e.Deleted,
		&e.Type,
		&e.ID,
		(*[]byte)(&e.Terms),
		&e.Body,
	)
	c.give(&e)
	e.Type = typeName(e.Type)
	return e, err
}

// versionColumns are those that scanVersion reads.
const versionColumns = "doc, version, updated, method, deleted, body"

// scanVersion reads a row of versionColumns. Type and id are those of the current
// version.
func scanVersion(rows pgx.Rows) (e fhir.Entry, err error) {
	var c columns
	err = rows.Scan(&e.Doc, &e.Version, &c.updated, &c.method, &e.Deleted, &e.Body)
	c.give(&e)
	return e, err
}

// typeNames has the names of resource types, which entries share.
var typeNames = sync.OnceValue(func() map[string]string {
	names := map[string]string{}
	for _, typ := range search.Types() {
		names[typ] = typ
	}
	return names
})

func typeName(name string) string {
	if shared, ok := typeNames()[name]; ok {
		return shared
	}
	return name
}
