package sample

import (
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// obj is a JSON object as names and values in turn, written in that order. A
// member whose value is nil or "" is left out.
type obj []any

// arr is a JSON array.
type arr []any

// num is a JSON number as it shall be written, so that 1.50 stays 1.50.
type num string

// appendJSON writes v. It panics on a type that this package does not build
// with: a mistake in the generator itself, seen by every test.
func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case obj:
		return appendObject(b, v)
	case arr:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, item)
		}

		return append(b, ']')

	case string:
		return appendString(b, v)
	case num:
		return append(b, v...)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case bool:
		return strconv.AppendBool(b, v)

	case nil:
		return append(b, "null"...)
	}

	panic(fmt.Sprintf("sample: cannot write a %T", v))
}

func appendObject(b []byte, o obj) []byte {
	b = append(b, '{')
	first := true
	for i := 0; i < len(o); i += 2 {
		if absent(o[i+1]) {
			continue
		}

		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, o[i].(string)), ':')
		b = appendJSON(b, o[i+1])
	}

	return append(b, '}')
}

func absent(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case obj:
		return len(v) == 0
	case arr:
		return len(v) == 0
	}

	return false
}

// appendString quotes s; only text that needs escapes goes the slow way.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			quoted, err := jsontext.AppendQuote(b, s)
			if err != nil {
				panic("sample: text that is not UTF-8: " + err.Error())
			}
			return quoted
		}
	}

	return append(append(append(b, '"'), s...), '"')
}
