package doctor

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/trace"
)

// leastHSTS is half a year, in seconds.
const leastHSTS = 15_768_000

// each fails a check with the answers that have a fault.
func (e *examination) each(
	c trace.Check, record func(trace.Check, trace.Finding), answers []*answer, expected, remedy string,
	fault func(*answer) string,
) {
	var found []string
	for _, a := range answers {
		if text := fault(a); text != "" {
			found = append(found, a.what+": "+text)
		}
	}

	if len(found) > 0 {
		record(c, trace.Finding{
			Expected: expected,
			Found:    strings.Join(found, "; "),
			Remedy:   remedy,
		})
		return
	}

	e.trace.Pass(c, expected, "")
}

func (e *examination) examineHSTS(answers []*answer) {
	e.each(checkHSTS, e.refuse, answers, "max-age of half a year or more",
		"send Strict-Transport-Security: max-age=31536000 with every answer, refusals included",
		func(a *answer) string {
			field := a.header.Get("Strict-Transport-Security")
			if a.none {
				return ""
			}
			if field == "" {
				return "none"
			}
			if maxAge(field) < leastHSTS {
				return field
			}

			return ""
		})
}

// maxAge reads the directive of RFC 6797, 6.1.1; it is 0 where there is none.
func maxAge(field string) int {
	for _, part := range strings.Split(field, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(name, "max-age") {
			n, _ := strconv.Atoi(strings.Trim(value, `"`)) // what is no number is 0
			return n
		}
	}
	return 0
}

func (e *examination) examineHeaders(answers []*answer) {
	e.each(checkHeaders, e.refuse, answers, "X-Content-Type-Options: nosniff, and a Content-Security-Policy",
		"send both with every answer: what is shown in a browser must not run",
		func(a *answer) string {
			var missing []string
			if !strings.EqualFold(a.header.Get("X-Content-Type-Options"), "nosniff") {
				missing = append(missing, "X-Content-Type-Options")
			}
			if a.header.Get("Content-Security-Policy") == "" {
				missing = append(missing, "Content-Security-Policy")
			}
			if a.none || len(missing) == 0 {
				return ""
			}

			return "no " + strings.Join(missing, " and no ")
		})
}

func (e *examination) examineCookies(answers []*answer) {
	e.each(checkCookies, e.refuse, answers, "no Set-Cookie below the FHIR base",
		"keep sessions of people to other paths: a page in a resource could use the cookie",
		func(a *answer) string {
			name, _, _ := strings.Cut(a.header.Get("Set-Cookie"), "=")
			if !a.fhir {
				return ""
			}
			return name
		})
}

// software are header fields that name what a server is made of.
var software = []string{
	"Server",
	"Via",
	"X-Powered-By",
	"X-AspNet-Version",
	"X-AspNetMvc-Version",
	"X-Generator",
	"X-Runtime",
	"X-Served-By",
	"X-Backend-Server",
}

func (e *examination) examineServer(answers []*answer) {
	e.each(checkServer, e.refuse, answers, "no "+strings.Join(software, ", "),
		"switch the header off, in the server or the proxy that adds it",
		func(a *answer) string {
			for _, field := range software {
				if value := a.header.Get(field); value != "" {
					return field + ": " + value
				}
			}
			return ""
		})
}

// disclosures are what a refusal must not have.
var disclosures = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"a stack of Go", regexp.MustCompile(`goroutine \d+|\w\.go:\d+|runtime error`)},
	{"a stack", regexp.MustCompile(`Traceback \(most|\bat [\w.$]+\([\w]+\.(java|kt|cs|js):?\d*\)|[\w.]+Exception\b`)},
	{"a path of a file", regexp.MustCompile(
		`(^|[\s"'(=])/(home|usr|var|opt|srv|root|tmp|etc)/[\w.-]+|\b[A-Z]:\\\\?\w`)},
	{"the version of a server", regexp.MustCompile(
		`(?i)\b(nginx|apache|tomcat|jetty|iis|kestrel|caddy|envoy|haproxy|openresty|gunicorn|uvicorn|php)/\d`)},
	{"a private address", regexp.MustCompile(
		`\b(10\.\d+|127\.\d+|192\.168|172\.(1[6-9]|2\d|3[01]))\.\d+\.\d+\b`)},
	{"text of a database", regexp.MustCompile(`(?i)SQLSTATE|syntax error at or near|ORA-\d{5}`)},
}

func (e *examination) examineDisclosure(answers []*answer) {
	record := e.refuse
	if e.Explains {
		record = e.trace.Warn
	}
	e.each(checkDisclosure, record, answers, "refusals of a few fixed words",
		"answer failures with an identifier alone, and write the rest to the log (explain: operator)",
		func(a *answer) string {
			if a.open {
				return ""
			}

			for _, d := range disclosures {
				if found := d.pattern.FindString(a.body); found != "" {
					return d.what + ", " + strings.TrimSpace(found)
				}
			}

			return ""
		})
}

func (e *examination) examineHidden(answers []*answer) {
	if len(e.Hidden) == 0 {
		e.trace.Skip(checkHidden, "there are no names to look for")
		return
	}

	e.each(checkHidden, e.refuse, answers, "nothing of "+strings.Join(e.Hidden, ", "),
		"write every URL under the public base",
		func(a *answer) string {
			text := a.body
			for name, values := range a.header {
				text += "\n" + name + ": " + strings.Join(values, ", ")
			}
			i := slices.IndexFunc(e.Hidden, func(h string) bool {
				return strings.Contains(text, h)
			})
			if i < 0 {
				return ""
			}

			return e.Hidden[i]
		})
}

func (e *examination) examineAnonymous(a *answer) {
	if a == nil {
		e.trace.Skip(checkAnonymous, "there is no FHIR service")
		return
	}

	challenge := a.header.Get("WWW-Authenticate")
	if a.status != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer") {
		e.refuse(checkAnonymous, trace.Finding{
			Expected: "401 with WWW-Authenticate: Bearer",
			Found:    fmt.Sprintf("%d with %q", a.status, challenge),
			Remedy:   "ask for a token on everything but metadata and discovery",
		})
		return
	}

	e.trace.Pass(checkAnonymous, "", "401, "+challenge)
}

func (e *examination) examineTrace(a *answer) {
	if a.status < http.StatusMultipleChoices {
		e.refuse(checkTrace, trace.Finding{
			Expected: "405",
			Found:    strconv.Itoa(a.status),
			Remedy:   "switch the method off",
		})
		return
	}
	e.trace.Pass(checkTrace, "", "it is refused")
}

func (e *examination) examineOrigins(metadata, data *answer) {
	const allow = "Access-Control-Allow-Origin"
	dataFor := ""
	if data != nil {
		dataFor = data.header.Get(allow)
	}

	switch {
	case dataFor != "" ||
		metadata.header.Get("Access-Control-Allow-Credentials") != "":
		e.refuse(checkOrigins, trace.Finding{
			Expected: "data for pages of listed origins alone, and no credentials",
			Found: fmt.Sprintf("%s %q for a page of %s, credentials %q", allow, dataFor, stranger,
				metadata.header.Get("Access-Control-Allow-Credentials")),
			Remedy: "list the origins of the applications",
		})

	case metadata.header.Get(allow) != "*":
		e.trace.Warn(checkOrigins, trace.Finding{
			Expected: "metadata for pages of every origin (SMART App Launch)",
			Found:    fmt.Sprintf("%s %q", allow, metadata.header.Get(allow)),
			Remedy:   "send Access-Control-Allow-Origin: * with metadata and discovery documents",
		})

	default:
		e.trace.Pass(checkOrigins, "", "metadata is open, data is not")
	}
}

// Differences of clocks: that which UDAP's usual skew allows, and one to look at.
const (
	mostClock  = time.Minute
	noticeable = 10 * time.Second
)

func (e *examination) examineClock(a *answer) {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		e.trace.Warn(checkClock, trace.Finding{
			Expected: "the field Date",
			Found:    fmt.Sprintf("%q", a.header.Get("Date")),
			Remedy:   "send it: clients find out by it that their clock is wrong",
		})
		return
	}

	// Date has whole seconds, and was written while the answer was under way.
	ahead := date.Sub(a.came)
	switch {
	case ahead < 0:
		ahead = min(ahead+a.elapsed+time.Second, 0)
	default:
		ahead = max(ahead, 0)
	}

	f := trace.Finding{
		Expected: "a difference of seconds",
		Found:    fmt.Sprintf("the server's clock is %s from ours", ahead.Round(time.Second)),
		Remedy:   "synchronise both clocks",
	}
	switch off := ahead.Abs(); {
	case off > mostClock:
		e.refuse(checkClock, f)
	case off > noticeable:
		e.trace.Warn(checkClock, f)
	default:
		e.trace.Pass(checkClock, "", ahead.Round(time.Second).String())
	}
}
