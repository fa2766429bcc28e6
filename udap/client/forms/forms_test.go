package forms_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"fhirdest.example/udap/client/forms"
)

// The browser keeps cookies, follows redirects, sends what a form has, with changes, and
// stops where nobody listens.
func TestBrowser(t *testing.T) {
	var got url.Values
	mux := http.NewServeMux()
	mux.HandleFunc("/start", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "1", Path: "/"})
		http.Redirect(w, r, "page", http.StatusSeeOther)
	})
	mux.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("a"); err != nil {
			t.Error("the cookie is missing")
		}
		fmt.Fprint(w, `<h1>Sign <b>in</b></h1><form action="/other"><button name="do" value="other"></button></form>
			<form method="post" action="/send"><input type="hidden" name="h" value="&lt;x&gt;"><input name="user">
			<input type="checkbox" name="s" value="1" checked><input type="checkbox" name="s" value="2">
			<input name="off" disabled value="x"><button name="do" value="go">Go</button></form>`)
	})
	mux.HandleFunc("/send", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got = r.PostForm
		http.Redirect(w, r, "https://app.test/cb?code=1&state=2", http.StatusSeeOther)
	})
	s := httptest.NewServer(mux)
	defer s.Close()

	b, err := forms.New(http.DefaultTransport, "https://app.test/cb")
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Open(t.Context(), s.URL+"/start")
	if err != nil {
		t.Fatal(err)
	}
	if p.Title != "Sign in" || p.Status != http.StatusOK || len(p.Forms) != 2 {
		t.Errorf("%+v", p)
	}

	if _, err := b.Press(t.Context(), p, "nothing", nil); err == nil {
		t.Error("a button that is not there was pressed")
	}
	end, err := b.Press(t.Context(), p, "go", url.Values{"user": {"ana"}})
	if err != nil {
		t.Fatal(err)
	}
	if end.Ended != "code=1&state=2" {
		t.Errorf("ended at %+v", end)
	}
	if want := "do=go&h=%3Cx%3E&s=1&user=ana"; got.Encode() != want {
		t.Errorf("sent %s, want %s", got.Encode(), want)
	}
}
