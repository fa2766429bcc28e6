package search

import (
	"encoding/binary"
	"math"
	"strings"
	"time"
)

// span is a stretch of time in milliseconds since 1970, hi not included.
type span struct{ lo, hi int64 }

const (
	always = math.MaxInt64
	never  = math.MinInt64
	day    = 24 * 60 * 60 * 1000
)

// layouts are FHIR's date forms by the length of what is before a fraction and
// zone, with the time that each names.
var layouts = []struct {
	layout string
	add    func(time.Time) time.Time
}{
	{"2006", func(t time.Time) time.Time {
		return t.AddDate(1, 0, 0)
	}},
	{"2006-01", func(t time.Time) time.Time {
		return t.AddDate(0, 1, 0)
	}},
	{"2006-01-02", func(t time.Time) time.Time {
		return t.AddDate(0, 0, 1)
	}},
	{"2006-01-02T15:04", func(t time.Time) time.Time {
		return t.Add(time.Minute)
	}},
	{"2006-01-02T15:04:05", func(t time.Time) time.Time {
		return t.Add(time.Second)
	}},
}

// parseDate reads a date, dateTime or instant of any precision as the stretch
// of time that it names (R4 search 3.1.1.4.7). Without a zone it is UTC.
func parseDate(s string) (span, bool) {
	if len(s) > 40 {
		return span{}, false
	}

	body, zone := cutZone(s)
	if len(body) >= 19 && body[16:19] == ":60" { // a leap second is part of the day that it ends
		body = body[:16] + ":59" + body[19:]
	}
	body, fraction, dotted := strings.Cut(body, ".")

	for _, l := range layouts {
		if len(l.layout) != len(body) {
			continue
		}

		t, err := time.Parse(l.layout, body)
		if err != nil || dotted && len(body) != 19 || zone != "" && len(body) < 16 {
			return span{}, false
		}

		offset, ok := parseZone(zone)
		if !ok {
			return span{}, false
		}
		return withFraction(t.Add(-offset), l.add(t).Add(-offset), fraction, dotted)
	}

	return span{}, false
}

// cutZone splits "Z" or "+hh:mm" from a time.
func cutZone(s string) (body, zone string) {
	at := strings.IndexByte(s, 'T')
	if at < 0 {
		return s, ""
	}
	if z := strings.IndexAny(s[at:], "Z+-"); z >= 0 {
		return s[:at+z], s[at+z:]
	}
	return s, ""
}

func parseZone(zone string) (time.Duration, bool) {
	if zone == "" || zone == "Z" {
		return 0, true
	}

	t, err := time.Parse("15:04", zone[1:])
	if err != nil || t.Hour() > 14 {
		return 0, false
	}

	d := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	if zone[0] == '-' {
		d = -d
	}
	return d, true
}

func withFraction(lo, hi time.Time, fraction string, dotted bool) (span, bool) {
	s := span{lo.UnixMilli(), hi.UnixMilli()}
	if !dotted {
		return s, true
	}

	ms, width := int64(0), int64(1000)
	for i, c := range []byte(fraction) {
		if c < '0' || c > '9' {
			return span{}, false
		}
		if i < 3 {
			width /= 10
			ms += int64(c-'0') * width
		}
	}

	if fraction == "" {
		return span{}, false
	}

	s.lo += ms
	s.hi = s.lo + max(width, 1)
	return s, true
}

// Spans of at most a day are indexed apart from longer ones, so that a search
// for what ends after a time need look back by one day only among them.
const (
	shortSpan = 's'
	longSpan  = 'l'
)

func (s span) class() byte {
	if s.lo != never && s.hi != always && s.hi-s.lo <= day {
		return shortSpan
	}
	return longSpan
}

// value is the span as a term's value: class, then both ends in an order that
// bytes keep.
func (s span) value(b []byte) []byte {
	b = append(b, s.class())
	b = binary.BigEndian.AppendUint64(b, uint64(s.lo)^1<<63)
	return binary.BigEndian.AppendUint64(b, uint64(s.hi)^1<<63)
}

func spanOf(value []byte) span {
	if len(value) != 17 {
		return span{}
	}
	return span{
		int64(binary.BigEndian.Uint64(value[1:]) ^ 1<<63),
		int64(binary.BigEndian.Uint64(value[9:]) ^ 1<<63),
	}
}

// dateTests are the comparisons of R4 search by prefix: r is the resource's
// span, s the one searched for.
var dateTests = map[string]func(r, s span) bool{
	"eq": func(r, s span) bool {
		return r.lo >= s.lo && r.hi <= s.hi
	},
	"ne": func(r, s span) bool {
		return r.lo < s.lo || r.hi > s.hi
	},
	"lt": func(r, s span) bool { return r.lo < s.lo },
	"le": func(r, s span) bool {
		return r.lo < s.lo || r.hi <= s.hi
	},
	"gt": func(r, s span) bool { return r.hi > s.hi },
	"ge": func(r, s span) bool {
		return r.hi > s.hi || r.lo >= s.lo
	},
	"sa": func(r, s span) bool { return r.lo >= s.hi },
	"eb": func(r, s span) bool { return r.hi <= s.lo },
	"ap": func(r, s span) bool {
		return r.lo < s.hi && r.hi > s.lo
	},
}

// dateBounds limits where lo may be for short spans that pass the test.
func dateBounds(prefix string, s span) (from, to int64) {
	switch prefix {
	case "eq":
		return s.lo, s.hi
	case "lt", "eb":
		return never, s.lo
	case "le":
		return never, s.hi
	case "gt":
		return back(s.hi), always

	case "ge":
		return min(back(s.hi), s.lo), always
	case "sa":
		return s.hi, always
	case "ap":
		return back(s.lo), s.hi
	}

	return never, always
}

func back(t int64) int64 {
	if t < never+day {
		return never
	}
	return t - day
}

// Instants reads a date of any precision as the stretch of time that it names,
// the end not included.
func Instants(s string) (from, to time.Time, ok bool) {
	d, ok := parseDate(s)
	return time.UnixMilli(d.lo), time.UnixMilli(d.hi), ok
}
