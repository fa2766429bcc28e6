package answer

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"

	"fhirdest.example/udap/conform"
)

// query returns the parameters of a request's target.
func query(e *conform.Exchange) url.Values {
	_, text, _ := strings.Cut(e.Target, "?")
	v, _ := url.ParseQuery(text) // what can be read counts
	return v
}

// backTo changes the parameters with which a browser goes back to its client.
func backTo(f func(v url.Values, w *workshop)) change {
	return func(m *Message, w *workshop) error {
		location, err := url.Parse(m.Header.Get("Location"))
		if err != nil || strings.HasPrefix(location.String(), w.Issuer+"/") {
			return errNot // a page of the destination's own
		}

		v := location.Query()
		if !v.Has("state") || !v.Has("code") {
			return errNot
		}
		f(v, w)
		location.RawQuery = v.Encode()
		m.Header.Set("Location", location.String())
		return nil
	}
}

// ofAuthorization is a fault of what a browser brings back to its client.
func ofAuthorization(name, title, rule string, f func(v url.Values, w *workshop)) *Fault {
	return altered(&Fault{
		Name:    "authorization-" + name,
		Stage:   Authorization,
		Title:   title,
		Correct: "uses nothing of the redirect, sends no code anywhere, and begins anew or stops",
		Rule:    rule,
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a token request or a read",
		Silence: Noticed,
		reads:   goesOn(conform.Token, conform.Read),
	}, redirecting, backTo(f))
}

func authorizationFaults() []*Fault {
	all := []*Fault{
		ofAuthorization("other-state", "state is not the one that was sent",
			"S1-270; RFC 6749 10.12", func(v url.Values, _ *workshop) {
				v.Set("state", swapCharacter(v.Get("state")))
			}),
		ofAuthorization("no-state", "there is no state",
			"S1-270; RFC 6749 4.1.2", func(v url.Values, _ *workshop) {
				v.Del("state")
			}),
		ofAuthorization("two-states", "there are two states, the second one another's",
			"S1-270; RFC 6749 3.1", func(v url.Values, _ *workshop) {
				v.Add("state", rand.Text())
			}),
		ofAuthorization("other-issuer", "iss is another authorization server's",
			"RFC 9207 2.4", func(v url.Values, _ *workshop) {
				v.Set("iss", "https://elsewhere.invalid/oauth")
			}),
		ofAuthorization("no-issuer", "there is no iss, although the server announces it",
			"RFC 9207 2.4", func(v url.Values, _ *workshop) {
				v.Del("iss")
			}),
		ofAuthorization("two-codes", "there are two codes",
			"RFC 6749 3.1", func(v url.Values, _ *workshop) {
				v.Add("code", rand.Text())
			}),
		ofAuthorization("code-and-error", "there are a code and an error",
			"S1-272; RFC 6749 4.1.2", func(v url.Values, _ *workshop) {
				v.Set("error", "server_error")
			}),
	}

	for _, code := range []string{
		"access_denied",
		"invalid_scope",
		"unauthorized_client",
		"server_error",
		"temporarily_unavailable",
	} {
		all = append(all, ofAuthorization(strings.ReplaceAll(code, "_", "-"),
			"the redirect has the error "+code+" and no code",
			"S1-272; RFC 6749 4.1.2.1", func(v url.Values, _ *workshop) {
				v.Del("code")
				v.Set("error", code)
			}))
	}

	return append(all, otherCode())
}

// otherCode is a code that another client got.
func otherCode() *Fault {
	return altered(&Fault{
		Name:    "authorization-other-code",
		Stage:   Authorization,
		Title:   "the code is another client's: it cannot be redeemed",
		Correct: "tries it once at most, and begins anew or stops after invalid_grant",
		Rule:    "RFC 6749 4.1.3 10.5; RFC 9700 4.5",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a second token request for the same code, or a read without a new token",
		Silence: Noticed,
		reads:   triesAgain,
	}, redirecting, backTo(func(v url.Values, _ *workshop) {
		v.Set("code", rand.Text())
	}))
}

// triesAgain reads the second token request after the fault as ignoring, and a new
// authorization as noticing.
func triesAgain(*history) decide {
	tried := false
	return func(e *conform.Exchange) (Verdict, string) {
		switch {
		case e.Step == conform.Authorize && e.Status >= http.StatusOK:
			return Noticed, "it began anew: " + shown(e)
		case e.Step == conform.Read, e.Step == conform.Token && tried:
			return Ignored, "it went on: " + shown(e)
		case e.Step == conform.Token:
			tried = true
		}
		return "", ""
	}
}
