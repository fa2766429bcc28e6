package people_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest/chromium"
)

// newClientSite is the application's own site: the page to which people come back,
// and its logo.
func newClientSite(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/cb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!DOCTYPE html><html lang="en"><title>The application</title><h1>The application</h1>`)
	})
	mux.HandleFunc("/logo.png", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("the logo's server learns of the person: %v", r.Header)
		}
		_, _ = w.Write(picture())
	})
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	return s
}

// picture is a logo: a white drop on green.
func picture() []byte {
	const size = 112
	m := image.NewRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			c := color.RGBA{0x0f, 0x7b, 0x5f, 0xff}
			dx, dy := x-size/2, y-size/2
			if dx*dx+dy*dy < 900 || dx*dx < 64 && dy*dy < 2000 {
				c = color.RGBA{0xff, 0xff, 0xff, 0xff}
			}
			m.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, m) // into memory
	return b.Bytes()
}

// chromium starts a real browser that finds the destination and the application.
func (e *env) chromium(t *testing.T) *chromium.Browser {
	t.Helper()
	return chromium.Start(t, map[string]string{
		"fhir.test":   e.Addr,
		"client.test": newClientSite(t).Listener.Addr().String(),
	})
}

// arrived returns the parameters with which a browser came back to the application.
func arrived(t *testing.T, b *chromium.Browser) url.Values {
	t.Helper()
	u, err := url.Parse(b.URL())
	if err != nil || u.Host != "client.test" || u.Path != "/cb" {
		t.Fatalf("the browser is at %s: %s", b.URL(), b.Text())
	}
	return u.Query()
}

func signInWith(b *chromium.Browser, username string) {
	b.Fill("#username", username)
	b.Fill("#password", password)
	b.Press("button[value=signin]")
}

// A person signs in, unticks a scope and allows the rest, in a browser that runs no
// scripts.
func TestBrowserWithoutScripts(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.chromium(t)
	b.WithoutScripts()

	b.Open(a.authorize(scopes))
	signInWith(b, "alice")
	b.Do("untick", chromium.Click(`input[value="patient/Condition.rs"]`))
	b.Press("button[value=approve]")
	if q := arrived(t, b); q.Get("code") == "" || q.Get("error") != "" {
		t.Fatalf("came back with %v", q)
	}
	e.granted(
		t,
		a,
		arrived(t, b).Get("code"),
		"openid launch/patient patient/Observation.rs",
	)
}

// Everything can be done with the keyboard alone.
func TestBrowserByKeyboard(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.chromium(t)

	b.Open(a.authorize(scopes))
	b.Eventually(`document.activeElement.id === "username"`)
	b.Do(
		"type the username",
		chromedp.KeyEvent("alice"),
		chromedp.KeyEvent(kb.Tab),
		chromedp.KeyEvent(password),
	)
	b.Load("press Enter", chromedp.KeyEvent(kb.Enter))

	focused := func() string {
		return chromium.Get(b, "look at the focus", chromedp.Evaluate[string](
			`document.activeElement.value || document.activeElement.id || document.activeElement.tagName`))
	}
	tab := func(want string) {
		t.Helper()
		var seen []string
		for range 40 {
			b.Do("press Tab", chromedp.KeyEvent(kb.Tab))
			if seen = append(seen, focused()); seen[len(seen)-1] == want {
				return
			}
		}
		t.Fatalf("Tab never reaches %s: %v", want, seen)
	}

	tab("patient/Condition.rs")
	b.Do("untick with the space bar", chromedp.KeyEvent(" "))
	tab("approve")
	b.Load("press Enter", chromedp.KeyEvent(kb.Enter))
	e.granted(
		t,
		a,
		arrived(t, b).Get("code"),
		"openid launch/patient patient/Observation.rs",
	)
}

// granted fails unless the code of a browser that came back is worth a scope.
func (e *env) granted(t *testing.T, a *app, code, scope string) {
	t.Helper()
	token, err := a.exchange(code, scope)
	if err != nil {
		t.Fatal(err)
	}
	if token.Scope != scope {
		t.Errorf("scope %q, want %q", token.Scope, scope)
	}
}

// Two tabs with two requests do not disturb each other, and back from the application
// leads to the page that asks.
func TestBrowserTabsAndBack(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	one := e.chromium(t)
	two := one.Tab()

	one.Open(a.authorize(scopes, "login_hint", "alice"))
	two.Open(a.authorize("openid patient/Observation.rs launch/patient"))
	signInWith(two, "alice")
	signInWith(one, "alice")
	one.Do("do not remember", chromium.Click("#remember"))
	two.Do("do not remember", chromium.Click("#remember"))

	two.Press("button[value=approve]")
	one.Press("button[value=approve]")
	first, second := arrived(t, one).Get("code"), arrived(t, two).Get("code")
	if first == "" || second == "" || first == second {
		t.Errorf("codes %q and %q", first, second)
	}

	one.Do("go back", chromedp.NavigateBack())
	if text := one.Text(); !strings.Contains(text, "Allow access") {
		t.Errorf("back from the application leads to %s", text)
	}
	if status := one.Press("button[value=approve]"); status != http.StatusOK {
		t.Errorf("allowed again: %d", status)
	}
	if again := arrived(t, one).Get("code"); again == "" || again == first {
		t.Errorf("code %q after %q", again, first)
	}
}

// Every page passes the checker of accessibility at both widths, in light and dark,
// and fits a phone.
func TestPagesAreAccessible(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	long := registration()
	long.ClientName = strings.Repeat("Extraordinarily", 12) + " \u202egnihsihp"
	long.LogoURI = "https://client.test/broken.png"
	other := e.appOf(
		e.B,
		e.Client(e.B, "https://client.test/other/"+strings.Repeat("long", 30)),
		long,
	)
	b := e.chromium(t)

	b.Open(a.authorize(scopes))
	b.Inspect("signin")
	b.Fill("#username", "alice")
	b.Fill("#password", "wrong password")
	b.Press("button[value=signin]")
	b.Inspect("signin-wrong")
	signInWith(b, "alice")
	b.Do("unfold", chromium.Click("summary"))
	b.Inspect("consent")
	b.Press("button[value=approve]")
	e.granted(t, a, arrived(t, b).Get("code"), scopes)

	all := "openid fhirUser launch/patient offline_access patient/Observation.rs patient/MedicationRequest.rs user/Patient.rs"
	b.Open(other.authorize(all))
	b.Inspect("consent-long")
	b.Do("untick all", chromedp.Evaluate[chromedp.Void](
		`document.querySelectorAll('input[name=scope]').forEach(i => { i.checked = false })`))
	b.Press("button[value=approve]")
	b.Inspect("consent-nothing")
	b.Do("tick one", chromium.Click(`input[name=scope]`))
	b.Press("button[value=approve]")
	e.granted(
		t,
		other,
		arrived(t, b).Get("code"),
		"openid launch/patient patient/Observation.rs",
	)

	b.Open(site + "/grants")
	b.Inspect("grants")
	b.Press("button.danger")
	b.Inspect("grants-withdrawn")
	b.Press("form.who button")
	b.Inspect("signout")
	b.Open(site + "/signin")
	b.Inspect("signin-alone")

	b.Open(a.authorize(scopes, "prompt", "login"))
	signInWith(b, "doctor")
	b.Inspect("patient")
	b.Fill("#text", "MRN000002")
	b.Press("button[value=search]")
	b.Inspect("patient-found")
	b.Fill("#text", "nobody of this name")
	b.Press("button[value=search]")
	b.Inspect("patient-none")
	b.Open(site + "/grants")
	b.Inspect("grants-none")

	b.Open(a.authorize(scopes, "prompt", "login"))
	signInWith(b, "parent")
	b.Inspect("patient-several")
	b.Press("button[value=choose]")
	b.Inspect("consent-other")
	b.Open(site + "/authorize?client_id=unknown&redirect_uri=https://evil.test/")
	b.Inspect("refusal")
	e.repopulate([]users.User{})
}
