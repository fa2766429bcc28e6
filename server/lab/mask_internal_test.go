package lab

import (
	"strings"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// No credential is kept, wherever a client puts it, and what is no credential stays as
// it was.
func TestCredentialsAreMasked(t *testing.T) {
	const secret = "s3cr3t-0123456789-abcdefghijklmnop"
	const short = "s3cr…"
	jws := "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0." + secret
	for _, row := range []struct {
		name string
		in   conform.Exchange
		want []string // shown, too
	}{
		{"bearer", request("GET /fhir/Patient HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+
			secret+"\r\n\r\n", ""),
			[]string{"Authorization: Bearer " + short, "Host: x"}},
		{"alone", request("GET / HTTP/1.1\r\nauthorization:"+secret+"\r\n\r\n", ""), nil},
		{"continued", request("GET / HTTP/1.1\r\nAuthorization : Bearer\r\n "+secret+"\r\n\r\n", ""), nil},
		{"bare carriage return", request("GET / HTTP/1.1\r\nX: a\rAuthorization: Bearer "+secret+"\r\n\r\n", ""), nil},
		{"another field", request("GET / HTTP/1.1\r\nX-Forwarded-Auth: Bearer\t"+secret+"\r\nY: a\r\n\r\n", ""),
			[]string{"X-Forwarded-Auth: Bearer " + short, "Y: a\r\n"}},
		{"proxy", request("GET / HTTP/1.1\r\nProxy-Authorization: Basic "+secret+"\r\n\r\n", ""), nil},
		{"cookies",
			request("GET / HTTP/1.1\r\nCookie: a="+secret+"; b="+secret+"\r\n\r\n", ""), []string{"a=", "b="}},
		{"set-cookie", answered("HTTP/1.1 200 OK\r\nSet-Cookie: a="+secret+"; Path=/; HttpOnly\r\n\r\n", ""),
			[]string{"; Path=/; HttpOnly"}},
		{"query", request("GET /oauth/token?x=1&code="+secret+"&y=2 HTTP/1.1\r\n\r\n", ""),
			[]string{"x=1&code=" + short, "&y=2 HTTP/1.1"}},
		{"referer", request("GET / HTTP/1.1\r\n"+
			"Referer: https://a/?access_token="+secret+"#code="+secret+"\r\n\r\n", ""),
			nil},
		{"redirect", answered("HTTP/1.1 302 Found\r\nLocation: https://a/cb?state=s&code="+secret+"\r\n\r\n", ""),
			[]string{"state=s"}},
		{"form", request("POST /oauth/token HTTP/1.1\r\n\r\n", "grant_type=x&%63ode="+secret+"&refresh_token="+secret+
			"&password="+secret+"&client_assertion="+jws[:40]),
			[]string{"grant_type=x", "client_assertion=" + jws[:40]}},
		{"tokens", answered("HTTP/1.1 200 OK\r\n\r\n", `{"access_token": "`+secret+`","refresh_token":"`+secret+
			`","scope":"a"}`), []string{`"scope":"a"`, `"access_token": "` + short}},
		{"cut off", answered("HTTP/1.1 200 OK\r\n\r\n", `{"access_token":"`+secret), nil},
		{"id token", answered("HTTP/1.1 200 OK\r\n\r\n", `{"id_token":"`+jws+`"}`), []string{"eyJpc3MiOiJ4In0."}},
		{"key",
			request("POST / HTTP/1.1\r\n\r\n", "-----BEGIN PRIVATE KEY-----\n"+secret+"\n-----END PRIVATE KEY-----"),
			nil},
		{"jwk", request("POST / HTTP/1.1\r\n\r\n", `{"kty":"EC","x":"X","d":"`+secret+`"}`), []string{`"x":"X"`}},
		{"field of its own", request("GET / HTTP/1.1\r\nX-Access-Token: "+secret+"\r\napi-key:"+secret+"\r\n\r\n", ""),
			[]string{"X-Access-Token: " + short}},
		{"other spellings", request("POST / HTTP/1.1\r\n\r\n", `{"accessToken":"`+secret+`","client-secret":"`+
			secret+`"}`), []string{`"accessToken":"` + short}},
		{"several parts", request("POST / HTTP/1.1\r\n\r\n", "--b\r\nContent-Disposition: form-data; name=\"password\""+
			"\r\n\r\n"+secret+"\r\n--b--"), []string{"--b--"}},
		{"form behind a brace", request("POST /oauth/token HTTP/1.1\r\n\r\n", "{&refresh_token="+secret+"&x=y"),
			[]string{"{&refresh_token=" + short, "&x=y"}},
		{"form behind a bracket", request("POST /oauth/token HTTP/1.1\r\n\r\n", "\n[ code="+secret), nil},
		{"form behind an element", request("POST /oauth/token HTTP/1.1\r\n\r\n", "<a>&client_secret="+secret), nil},
		{"form with a quote", request("POST /oauth/token HTTP/1.1\r\n\r\n", "{\"password="+secret+"&x=y"), nil},
		{"link in JSON", answered("HTTP/1.1 200 OK\r\n\r\n", `{"url":"https://a/fhir?a=b&c=d","total":1}`),
			[]string{`{"url":"https://a/fhir?a=b&c=d","total":1}`}},
		{"XML", request("POST / HTTP/1.1\r\n\r\n", "<a><password>"+secret+"</password></a>"),
			[]string{"</password></a>"}},
		{"launch", request("GET /oauth/authorize?launch="+secret+"&x=y HTTP/1.1\r\n\r\n", ""), []string{"&x=y"}},
		{"code of FHIR", answered("HTTP/1.1 200 OK\r\n\r\n", `{"code":"8480-6","system":"http://loinc.org"}`),
			[]string{`"code":"8480-6"`}},
		{"search by code", request("GET /fhir/Observation?code=http://loinc.org|8480-6 HTTP/1.1\r\n\r\n", ""),
			[]string{"code=http://loinc.org|8480-6"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := row.in
			_, e.Target = requestLine(e.Request.Head)
			mask(&e)
			shown := strings.Join([]string{
				e.Target,
				string(e.Request.Head),
				string(e.Request.Body),
				string(e.Answer.Head),
				string(e.Answer.Body),
			}, "\n")
			if strings.Contains(shown, secret[5:]) {
				t.Errorf("shown: %s", shown)
			}
			for _, want := range row.want {
				if !strings.Contains(shown, want) {
					t.Errorf("%q is not in %s", want, shown)
				}
			}
		})
	}
}

// A finding that quotes a JWT has no signature either, and the decision stays as it was
// where others see it.
func TestDecisionsHaveNoSignatures(t *testing.T) {
	jws := "eyJhbGciOiJSUzI1NiIsIng1YyI6W119.eyJpc3MiOiJ4In0." + strings.Repeat("Sig-_0123", 38)
	original := &trace.Trace{Steps: []trace.Step{
		{
			Check: "client.assertion_type",
			Found: jws,
		},
	}}
	e := request("", "client_assertion_type="+jws)
	e.Traces = []*trace.Trace{original}
	mask(&e)

	if found := e.Traces[0].Steps[0].Found; strings.Contains(found, "Sig-_0123") {
		t.Errorf("found %s", found)
	}
	if original.Steps[0].Found != jws {
		t.Error("the decision itself has changed")
	}
}

// A JWT that was refused before it was used up could be used by whoever sees it: it
// loses its signature, wherever it is and however it is written. One that was used up
// stays whole.
func TestUnusedJWTsLoseTheirSignatures(t *testing.T) {
	signature := strings.Repeat("Sig-_0123", 38)
	const content = "eyJhbGciOiJSUzI1NiIsIng1YyI6W119.eyJpc3MiOiJ4In0."
	jws := content + signature
	escaped := strings.ReplaceAll(jws, ".", "%2E")
	used := &trace.Trace{Steps: []trace.Step{
		{
			Check:   "client.jti",
			Verdict: trace.Passed,
		},
	}}
	again := &trace.Trace{Steps: []trace.Step{
		{
			Check:   "client.jti",
			Verdict: trace.Refused,
		},
	}}

	for _, row := range []struct {
		name  string
		in    conform.Exchange
		trace *trace.Trace
		whole bool
	}{
		{"form", request("", "udap=2&client_assertion="+jws+"&x=y"), nil, false},
		{"escaped", request("", "client_assertion="+escaped), nil, false},
		{"another parameter", request("", "assertion="+jws), nil, false},
		{"JSON", request("", `{"software_statement":"`+jws+`"}`), nil, false},
		{"list", request("", `{"x":["`+jws+`"]}`), nil, false},
		{"several parts", request("", "--b\r\nname=\"client_assertion\"\r\n\r\n"+jws+"\r\n--b--"), nil, false},
		{"query", request("POST /oauth/token?client_assertion="+jws+" HTTP/1.1\r\n\r\n", ""), nil, false},
		{"in a URL", request("GET /a?b=c%3D"+escaped+" HTTP/1.1\r\n\r\n", ""), nil, false},
		{"field", request("POST /x HTTP/1.1\r\nDPoP: "+jws+"\r\n\r\n", ""), used, false},
		{"refused jti", request("", "client_assertion="+jws), again, false},
		{"registered", request("", `{"software_statement":"`+jws+`"}`), &trace.Trace{Effect: trace.Registered}, true},
		{"used", request("", "client_assertion="+jws), used, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := row.in
			_, e.Target = requestLine(e.Request.Head)
			if row.trace != nil {
				e.Traces = []*trace.Trace{row.trace}
			}

			mask(&e)
			shown := e.Target + string(e.Request.Head) + string(e.Request.Body)
			if got := strings.Contains(shown, signature[9:]); got != row.whole {
				t.Errorf("shown whole: %t, want %t: %s", got, row.whole, shown)
			}
			if row.whole != !strings.Contains(shown, conform.MaskedSignature) {
				t.Errorf("no mark: %s", shown)
			}
		})
	}
}

func request(head, body string) conform.Exchange {
	return conform.Exchange{Request: conform.Message{
		Head: []byte(head),
		Body: []byte(body),
	}}
}

func answered(head, body string) conform.Exchange {
	e := request("GET /fhir/x HTTP/1.1\r\n\r\n", "")
	e.Answer = conform.Message{
		Head: []byte(head),
		Body: []byte(body),
	}
	return e
}

// The same credential is recognised wherever it is, and another is not.
func TestMaskedCredentialsAreRecognised(t *testing.T) {
	a, b := strings.Repeat("abcdefgh", 4), strings.Repeat("abcdefgh", 4)+"i"
	if masked(a) != masked(strings.Clone(a)) || masked(a) == masked(b) {
		t.Errorf("%s and %s", masked(a), masked(b))
	}
	if got := masked("pass"); got != "…" {
		t.Errorf("a short one is shown as %s", got)
	}
}

// Masking never fails, and does not grow what it masks without bound.
func FuzzMask(f *testing.F) {
	f.Add("GET /?code=abcdefghijklmnopq HTTP/1.1\r\nA: b\r\n\r\n", `{"token":"\u00e9abcdefghijklmnopqrst`)
	f.Fuzz(func(t *testing.T, head, body string) {
		e := request(head, body)
		_, e.Target = requestLine(e.Request.Head)
		mask(&e)
		if before, after := len(head)+len(body), len(e.Request.Head)+len(e.Request.Body); after > 40*before+100 {
			t.Errorf("%d bytes became %d", before, after)
		}
	})
}
