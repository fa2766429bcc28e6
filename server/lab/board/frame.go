package board

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/server/lab"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault/answer"
	"fhirdest.example/udap/look"
)

var pages = template.Must(look.Template("").Funcs(template.FuncMap{
	"word":    word,
	"title":   title,
	"shorten": shorten,
	"clock":   clock,
	"plural":  plural,
	"capital": capital,
	"stage":   stageTitle,
	"own":     func() string { return version },
	"file":    dataURL,
	"below":   below,
	"seconds": seconds,
}).ParseFS(pageFiles, "pages/*.html"))

// version changes with our own style sheet and script, so that both can be kept.
var version = func() string {
	sum := sha256.Sum256(append(slices.Clone(ownSheet), script...))
	return hex.EncodeToString(sum[:6])
}()

// frame is what every page has.
type frame struct {
	Title   string
	Site    string
	Root    string // of the lab
	List    bool
	Open    bool // sessions may be opened here
	Session *lab.Session
	Of      string // name of the session, on pages that have another title
	Here    string // name of the page among those of the session
	Notice  string
	Problem string
	Stage   bool // for a room
}

func (b *Board) frame(title string) frame {
	return frame{
		Title: title,
		Site:  b.Site,
		Root:  b.Root,
		List:  b.List,
		Open:  b.Open,
	}
}

func (v *visit) frame(title, here string) frame {
	f := v.Board.frame(title)
	f.Session = &v.Session
	f.Here = here
	if here != "board" {
		f.Of = sessionName(&v.Session)
	}
	return f
}

// sessionName returns what a session is called on pages.
func sessionName(s *lab.Session) string {
	return cmp.Or(s.Name, "Lab session "+shorten(s.ID, 8))
}

// root returns the path of the session's pages.
func (v *visit) root() string {
	return v.Root + v.Session.ID + "/"
}

// show answers with a page.
func (b *Board) show(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	b.send(w, r, status, b.draw(name, data))
}

// draw returns a page; nil when it cannot be made, which is logged.
func (b *Board) draw(name string, data any) []byte {
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, name, data); err != nil {
		b.Log.Error("a page of the lab could not be made", "page", name, "cause", err)
		return nil
	}
	return out.Bytes()
}

// send answers with what draw returned.
func (b *Board) send(w http.ResponseWriter, r *http.Request, status int, page []byte) {
	if page == nil {
		http.Error(w, "The page could not be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	write(w, r, status, page)
}

// fail answers with a page that has one sentence.
func (b *Board) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	f := b.frame(http.StatusText(status))
	f.Problem = text
	b.show(w, r, status, "failure", f)
}

func write(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader is gone
	}
}

// seeOther leads a browser to another page after a form.
func seeOther(w http.ResponseWriter, r *http.Request, path string) {
	w.Header().Set("Location", path)
	write(w, r, http.StatusSeeOther, nil)
}

// pageNumber returns the number of a page that is asked for, from 0.
func pageNumber(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || n < 0 || n > maxLanes {
		return 0
	}
	return n
}

// word returns how a step went, in a word.
func word(tone look.Tone, status int) string {
	switch {
	case tone == look.Good:
		return "OK"
	case tone == look.Warn:
		return "warning"
	case tone == look.Bad && status >= http.StatusBadRequest:
		return "refused"
	case tone == look.Bad:
		return "rule broken"
	}

	return "seen"
}

// title returns the name of a step.
func title(step conform.Step) string {
	return capital(string(step))
}

// capital writes a word as the beginning of a line. Names in code stay as they are.
func capital(word string) string {
	first, _, _ := strings.Cut(word, " ")
	if first == "" || strings.Contains(first, "_") {
		return look.Visible(word)
	}
	return look.Visible(strings.ToUpper(word[:1]) + word[1:])
}

// stageTitle returns the name of a stage of faults.
func stageTitle(stage answer.Stage) string {
	switch stage {
	case answer.TLS, answer.FHIR:
		return strings.ToUpper(string(stage))
	case answer.IDToken:
		return "ID token"
	case answer.Hop:
		return "Intermediaries"
	}
	return capital(string(stage))
}

// clock writes the time of a day, in UTC.
func clock(t time.Time) string {
	return t.UTC().Format("15:04:05Z")
}

// seconds writes a duration.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}

// inSession is the part of a request's path that all requests of a session have.
var inSession = regexp.MustCompile(`^[^?]*?/lab/[0-9a-f]{32}/`)

// below returns a request's target without what all requests of its session have.
func below(target string) string {
	return inSession.ReplaceAllString(target, "…/")
}

// dataURL returns the URL of a file that is in the page.
func dataURL(content []byte) template.URL {
	return template.URL("data:application/x-pkcs12;base64," + base64.StdEncoding.EncodeToString(content))
}

func plural(n any, one, many string) string {
	switch n := n.(type) {
	case int:
		if n == 1 {
			return "1 " + one
		}
		return strconv.Itoa(n) + " " + many
	case uint64:
		return plural(int(n), one, many)
	}
	return many
}
