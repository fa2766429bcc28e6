package people_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"fhirdest.example/server/servertest/chromium"
)

// payloads would run a script, end a tag, a title or a comment, turn the direction of
// what follows, or break a line, if a page or a header took them as they are.
var payloads = []string{
	`"><script>window.canary = 1</script>`,
	`<img src=x onerror="window.canary = 1">`,
	`</title><script>window.canary = 1</script>`,
	`javascript:window.canary=1`,
	`{{.Data}}${1}#{1}`,
	`--><svg onload=window.canary=1>`,
	"\u2028\u2029window.canary=1",
	"\u202egnp.ogol\u2066x\u200b",
	"a\r\nSet-Cookie: canary=1",
	`' autofocus onfocus='window.canary=1`,
	"\x00\x1b[31mred",
}

// What clients and browsers send is text on every page, and nothing else.
//
// Covers: case 194, case 201, case 274
func TestHostileTexts(t *testing.T) {
	e := newEnv(t)
	r := registration()
	r.ClientName = strings.Join(payloads[:4], " ") // registration refuses longer names and unreadable characters
	a := e.appOf(e.A, e.Issue(payloads[0], e.A, e.Key("p256"), "https://client.test/app"), r)
	b := e.chromium(t)

	harmless := func(page string) {
		t.Helper()
		found := chromium.Get(b, "look for harm", chromedp.Evaluate[string](`JSON.stringify({
			canary: window.canary, cookie: document.cookie, scripts: document.scripts.length,
			svg: document.querySelectorAll('svg').length,
			handlers: [...document.querySelectorAll('*')].filter(
				n => [...n.attributes].some(x => x.name.startsWith('on'))).length,
			links: [...document.querySelectorAll('a')].filter(n => !/^https:/.test(n.href)).length,
			turned: /[\u202a-\u202e\u2066-\u2069\u200b\u0000]/.test(document.body.textContent)})`))
		if found != `{"cookie":"","scripts":0,"svg":0,"handlers":0,"links":0,"turned":false}` {
			t.Errorf("%s: %s", page, found)
		}
	}

	for _, payload := range payloads[:9] {
		b.Open(a.authorize(scopes, "login_hint", payload, "acr_values", payload, "idp", payload, "nonce", payload))
		harmless("sign-in")
	}
	b.Fill("#username", `"><script>window.canary=1</script>`)
	b.Fill("#password", "not the password")
	b.Press("button[value=signin]")
	harmless("sign-in again")

	signInWith(b, "doctor")
	b.Fill("#text", payloads[1]+payloads[7])
	b.Press("button[value=search]")
	harmless("patients")
	b.Fill("#text", "MRN000001")
	b.Press("button[value=search]")
	b.Press("button[value=choose]")
	harmless("consent")
	b.Press("button[value=approve]")
	if _, err := a.exchange(arrived(t, b).Get("code"), scopes); err != nil {
		t.Fatal(err)
	}
	b.Open(site + "/grants")
	harmless("grants")

	for _, payload := range payloads[:9] {
		location := site + "/authorize?client_id=" + strings.NewReplacer("&", "%26", "#", "%23", " ", "%20", "\r", "%0D",
			"\n", "%0A").Replace(payload)
		if status := b.Open(location); status != http.StatusBadRequest {
			t.Errorf("%d for the client %q", status, payload)
		}
		harmless("refusal")
	}
}
