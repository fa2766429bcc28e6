package validate

import (
	"fmt"
	"strings"
	"testing"
)

// TestPrimitives: the texts that R4 allows of each primitive type, and those
// that it does not (R4 datatypes 2.24.0.1).
func TestPrimitives(t *testing.T) {
	for _, row := range []struct {
		typ     string
		valid   []string
		invalid []string
	}{
		{
			"integer",
			[]string{"0", "-2147483648", "2147483647"},
			[]string{"-0", "1.0", "1e2", "2147483648", "-2147483649"},
		},
		{"unsignedInt", []string{"0", "2147483647"}, []string{"-1", "2147483648"}},
		{"positiveInt", []string{"1", "2147483647"}, []string{"0", "-1"}},
		{
			"decimal",
			[]string{
				"0", "-0.0", "1.50", "1e3", "1E-245", "-1.000000000000000000E+245", "1e999", "1e-0999",
				"0.000000000000000000000000000000000000000000000000000000000001",
			},
			[]string{"1e1000", "1e-12345", strings.Repeat("9", 65)},
		},
		{
			"string",
			[]string{"x", "a\tb\r\nc", strings.Repeat("x", 1<<20)},
			[]string{" ", "\t", "a\x07", strings.Repeat("x", 1<<20+1)},
		},
		{"code", []string{"a", "a b"}, []string{" a", "a ", "a  b", "a\tb"}},
		{"id", []string{"a", "A-1.b", strings.Repeat("x", 64)}, []string{"a_b", "a/b", strings.Repeat("x", 65)}},
		{
			"uri",
			[]string{"urn:x", "http://a/b?c#d", "data:text/plain,x"},
			[]string{"a b", "javascript:x", "FILE:///etc"},
		},
		{"url", []string{"https://a/b", "mailto:a@b"}, []string{"data:text/plain,x", "vbscript:x"}},
		{
			"oid",
			[]string{"urn:oid:1.2.3", "urn:oid:2.16.840.1"},
			[]string{"1.2.3", "urn:oid:3.1", "urn:oid:1.02", "urn:oid:1"},
		},
		{
			"uuid",
			[]string{"urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:C757873D-EC9A-4326-A141-556F43239520"},
			[]string{"c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:c757873d-ec9a-4326-a141"},
		},
		{"base64Binary", []string{"AAAA", "AA==", "AA\nAA"}, []string{"AAA", "AB==", "A-AA"}},
		{
			"date",
			[]string{"2024", "2024-02", "2024-02-29"},
			[]string{"0000", "2023-02-29", "2024-13", "24-01-01", "2024-1-1"},
		},
		{
			"dateTime",
			[]string{"2024", "2024-02-29T00:00:00Z", "2016-12-31T23:59:60Z", "2024-01-01T00:00:00.123456+14:00"},
			[]string{"2024-01-01T00:00:00", "2024-01-01T24:00:00Z", "2024-01-01T00:00Z", "2024-01-01T00:00:00+15:00"},
		},
		{"instant", []string{"2024-02-29T00:00:00Z"}, []string{"2024", "2024-02-29"}},
		{"time", []string{"00:00:00", "23:59:59.5"}, []string{"24:00:00", "12:00", "12:00:00Z"}},
	} {
		for _, text := range row.valid {
			t.Run(fmt.Sprintf("%s %.60q", row.typ, text), func(t *testing.T) {
				if why := formatFault(row.typ, text); why != "" {
					t.Error(why)
				}
			})
		}

		for _, text := range row.invalid {
			t.Run(fmt.Sprintf("%s %.60q", row.typ, text), func(t *testing.T) {
				if formatFault(row.typ, text) == "" {
					t.Error("it is accepted")
				}
			})
		}
	}
}
