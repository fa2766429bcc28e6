package board

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"html/template"
	"net/http"
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
	"base64":  base64.StdEncoding.EncodeToString,
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
	Session *lab.Session
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
	}
}

func (v *visit) frame(title, here string) frame {
	f := v.Board.frame(title)
	f.Session = &v.Session
	f.Here = here
	return f
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

// capital writes a word as the beginning of a line.
func capital(word string) string {
	if word == "" {
		return ""
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
	return t.UTC().Format("15:04:05")
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
