package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"

	"fhirdest.example/server/servertest"
	"fhirdest.example/server/servertest/chromium"
)

// pageScript is what a page does for a living: it discovers, gets a token with an
// assertion that its backend made, reads, writes without the right to, and notes what
// it could read of each answer.
const pageScript = `(async (base, form) => {
  const seen = []
  const ask = async (name, url, options) => {
    try {
      const answer = await fetch(url, options)
      const body = await answer.json()
      seen.push(name + ' ' + answer.status)
      return [body, answer]
    } catch (e) {
      seen.push(name + ' ' + e.name)
      return [{}, { headers: new Headers() }]
    }
  }
  await ask('metadata', base + '/metadata')
  const [smart] = await ask('smart', base + '/.well-known/smart-configuration')
  await ask('udap', base + '/.well-known/udap', { headers: { 'Content-Type': 'application/json' } })
  const [token] = await ask('token', smart.token_endpoint, { method: 'POST', body: new URLSearchParams(form) })
  const headers = { Authorization: 'Bearer ' + (token.access_token ?? 'none'), Prefer: 'return=representation' }
  const [, found] = await ask('search', base + '/Patient', { headers: { ...headers, 'X-Request-Id': 'r1' } })
  seen.push('id ' + Boolean(found.headers.get('X-Request-Id')))
  const [, refused] = await ask('other', base + '/Observation', { headers })
  seen.push('challenge ' + (refused.headers.get('WWW-Authenticate') ?? '').includes('insufficient_scope'))
  await ask('create', base + '/Patient', {
    method: 'POST', body: '{"resourceType":"Patient"}',
    headers: { ...headers, 'Content-Type': 'application/fhir+json', 'If-None-Exist': 'identifier=1' },
  })
  await ask('none', base + '/Patient', { headers: { Authorization: 'Bearer none' } })
  return seen.join(', ')
})`

// A page of a listed origin discovers, gets a token, reads, and learns why it is
// refused; one of another origin reads metadata and nothing else.
//
// Covers: FS-106, case 009, case 254
func TestPagesInChromium(t *testing.T) {
	d := servertest.Start(t, withOrigins)
	id := d.Client(d.A, "https://client1.test/app")
	client := d.Session(d.A, id, "system/Patient.rs").Registered.ClientID
	app := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!DOCTYPE html><html lang=en><title>The application</title>")
	}))
	t.Cleanup(app.Close)

	b := chromium.Start(t, map[string]string{
		"fhir.test":    d.Addr,
		"app.example":  app.Listener.Addr().String(),
		"evil.example": app.Listener.Addr().String(),
	})
	for origin, want := range map[string]string{
		listedOrigin: "metadata 200, smart 200, udap 200, token 200, search 200, id true, other 403, challenge true, " +
			"create 403, none 401",
		otherOrigin: "metadata 200, smart 200, udap 200, token TypeError, search TypeError, id false, other TypeError, " +
			"challenge false, create TypeError, none TypeError",
	} {
		t.Run(origin, func(t *testing.T) {
			b.Open(origin + "/app")
			form := assertion(t, d, id, client, "jti of "+origin)
			call := fmt.Sprintf("%s(%q, %q)", pageScript, servertest.Base, form)
			got := chromium.Get(b, "ask", chromedp.Evaluate[string](call, chromedp.EvalAwaitPromise))
			if got != want {
				t.Errorf("the page saw\n%s, want\n%s", got, want)
			}
		})
	}
}
