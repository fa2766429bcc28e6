package people

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/look"
	"fhirdest.example/udap/trace"
)

//go:embed pages/*.html
var pageFiles embed.FS

const styleName = "style.css"

var pages = template.Must(look.Template("").Funcs(template.FuncMap{
	"plain":   look.Visible,
	"day":     func(t time.Time) string { return t.UTC().Format("2 January 2006") },
	"moment":  func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	"machine": func(t time.Time) string { return t.UTC().Format("2006-01-02") },
	"initial": initial,
	"birth":   birth,
	"capital": capital,
	"long":    func(text string) string { return look.VisibleTo(text, 4*look.MaxShown) },
	"dict":    dict,
}).ParseFS(pageFiles, "pages/*.html"))

// birth writes a birth date of FHIR, which may lack day or month, as people do.
func birth(date string) string {
	for form, written := range map[string]string{
		time.DateOnly: "2 January 2006",
		"2006-01":     "January 2006",
	} {
		if t, err := time.Parse(form, date); err == nil {
			return t.Format(written)
		}
	}
	return look.Visible(date)
}

// capital writes a code as the beginning of a line.
func capital(code string) string {
	first, size := utf8.DecodeRuneInString(code)
	if size == 0 {
		return ""
	}
	return look.Visible(string(unicode.ToUpper(first)) + code[size:])
}

// dict gives a template several values by name.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1] // the templates' own words
	}
	return m
}

// initial returns what is shown in the place of a logo.
func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "?"
}

// view is what every page has.
type view struct {
	Title  string
	Site   string // who runs the server
	Style  string // URL of the style sheet
	URL    func(page string) string
	Trace  string
	Person string // who is signed in; empty: nobody
	Out    string // token of the form that signs out
	Notice string // what has happened, above the page
	Error  string // what is wrong with what was entered
	Data   any
}

// newView returns the view of a page for whoever is signed in.
func (s *shell) newView(title string, tr *trace.Trace, visit secret, who *signedIn) view {
	v := view{
		Title: title,
		Site:  s.cfg.Name,
		Style: s.url(styleName) + "?v=" + look.Version(),
		URL:   s.url,
		Trace: tr.ID,
	}

	if who != nil {
		v.Person = who.user.DisplayName()
		v.Out = visit.token("signout", who.Subject)
	}
	return v
}

// write answers with a page. images are the origins from which it may load
// pictures.
func (s *shell) write(w http.ResponseWriter, r *http.Request, status int, name string, v view, images ...string) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, v); err != nil {
		s.cfg.Log.Error(
			"a page could not be made",
			"page",
			name,
			"cause",
			err,
		)
		http.Error(
			w,
			"The page could not be made.",
			http.StatusInternalServerError,
		)
		return
	}

	harden(w.Header(), images)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes()) // the reader is gone
	}
}

// harden sets the headers of a page. form-action is left out: browsers apply it to
// the redirects that follow a form, and those lead to the client.
func harden(h http.Header, images []string) {
	pictures := "img-src 'none'"
	if len(images) > 0 {
		pictures = "img-src " + strings.Join(images, " ")
	}

	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; "+pictures+
		"; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func (s *shell) style(w http.ResponseWriter, r *http.Request) {
	harden(w.Header(), nil)
	w.Header().Set("Cache-Control", "public, max-age=604800")
	look.ServeSheet(w, r)
}

// methods are the handlers of a page by method. One that returns an error has
// written nothing.
type methods map[string]func(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error

// page is the shell of a page: its trace is recorded and its refusal shown,
// whatever happens.
func (s *shell) page(action string, m methods) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr := trace.NewTrace(action, s.cfg.Now())
		tr.Address = oauth.PeerAddress(r)
		defer s.cfg.Record(tr)
		w.Header().Set("Trace-Id", tr.ID)
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}

		err := s.badMethod(r, tr)
		if handler := m[method]; handler != nil {
			err = handler(w, r, tr)
		}

		if err != nil {
			s.fail(w, r, err, tr)
		}
	})
}

// fail answers with a refusal: by redirect if the client may have it, else on a page.
func (s *shell) fail(w http.ResponseWriter, r *http.Request, err error, tr *trace.Trace) {
	var redirect *oauth.RedirectRefusal
	if errors.As(err, &redirect) {
		s.leave(w, redirect.Location)
		return
	}
	s.Refuse(w, r, oauth.RefusalOf(err), tr)
}

func (s *shell) badMethod(r *http.Request, tr *trace.Trace) error {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost}, r.Method) {
		return nil
	}

	return &oauth.Refusal{
		Of: tr.Refuse(checkMethod, trace.InvalidRequest, trace.Finding{
			Expected: "GET or POST",
			Found:    r.Method,
		}),
		Status: http.StatusMethodNotAllowed,
		Header: http.Header{"Allow": {"GET, HEAD, POST"}},
	}
}

// leave redirects a browser, by GET.
func (s *shell) leave(w http.ResponseWriter, location string) {
	harden(w.Header(), nil)
	oauth.SeeOther(w, location)
}

// hostForm is what the host of a picture's origin may be, so that nothing else of
// a client's gets into a header.
var hostForm = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]{1,5})?$`)

// pictureOrigin returns the origin of a client's logo, or nothing when it is not
// loaded.
func pictureOrigin(logo string) []string {
	u, err := url.Parse(logo)
	if err != nil || u.Scheme != "https" || u.User != nil || !hostForm.MatchString(u.Host) {
		return nil
	}
	return []string{"https://" + u.Host}
}
