package answer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/conform"
)

// ofToken is a fault of an answer to a token request that gives no usable token.
func ofToken(name, title, rule string) *Fault {
	return &Fault{
		Name:    "token-" + name,
		Stage:   Token,
		Title:   title,
		Correct: "reads nothing with what came, does not send the same authentication token again, and reports it",
		Rule:    rule,
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a read, or the same authentication token again",
		Silence: Noticed,
		reads:   either(goesOn(conform.Read), resends),
	}
}

func tokenFaults() []*Fault {
	return slices.Concat(tokenErrors(), tokenAnswers(), []*Fault{
		waiting("token", Token, tokens, 429),
		waiting("token", Token, tokens, 503),
		redirected("token", Token, tokens),
		forgotten(),
		tokenSubset(),
		shortLife(),
	})
}

// tokenErrors are refusals for good.
func tokenErrors() (all []*Fault) {
	for _, e := range []struct{ code, text string }{
		{"invalid_request", "a parameter is missing"},
		{"invalid_grant", "an extension object or a code was not accepted"},
		{"invalid_scope", "none of these scopes can be granted"},
		{"unauthorized_client", "this client is not registered for this grant"},
	} {
		f := ofToken(
			strings.ReplaceAll(e.code, "_", "-"),
			"the token is refused with "+e.code,
			"S1-067; RFC 6749 5.2",
		)
		all = append(all, replaced(f, tokens, func(*workshop) *Message {
			return refusal(400, e.code, e.text)
		}))
	}
	return all
}

// tokenAnswers are answers that look like success.
func tokenAnswers() []*Fault {
	member := func(name, title, rule, member string, value any) *Fault {
		return altered(ofToken(name, title, rule), tokens, func(m *Message, _ *workshop) error {
			return m.members(func(o map[string]jsontext.Value) error {
				return set(o, member, value)
			})
		})
	}

	return []*Fault{
		member("other-type", "token_type is mac, which the client did not ask for",
			"RFC 6749 7.1", "token_type", "mac"),
		member("no-type", "token_type is empty",
			"RFC 6749 5.1 7.1", "token_type", ""),
		member("no-access-token", "access_token is empty",
			"RFC 6749 5.1", "access_token", ""),
		member("line-break", "access_token has a line break, with a header field after it",
			"RFC 6749 A.12; RFC 6750 2.1", "access_token", "lab-token\r\nX-Lab: 1"),
		member("error-with-success", "200 with an error beside the token",
			"RFC 6749 5.1 5.2", "error", "invalid_grant"),
		altered(ofToken("html", "a web page with the status 200", "RFC 6749 5.1"),
			tokens, func(m *Message, _ *workshop) error {
				m.become(plain(200, "text/html", page))
				return nil
			}),
		altered(ofToken("cut", "the answer ends in the middle", "RFC 9112 8"), tokens, cut),
		altered(ofToken("server-error", "500, although a token was issued", "RFC 9110 15.6.1"),
			tokens, func(m *Message, _ *workshop) error {
				m.become(plain(500, "text/plain", "internal error"))
				return nil
			}),
	}
}

// forgotten is a destination that was restored from an older backup and does not
// know the registration.
func forgotten() *Fault {
	return replaced(&Fault{
		Name:    "token-invalid-client",
		Stage:   Token,
		Title:   "invalid_client for a registered client, as after a restore",
		Correct: "registers again before it asks for another token, or stops",
		Rule:    "S1-067 S1-066; RFC 6749 5.2",
		Lasts:   OneAnswer,
		Within:  halfMinute,
		Ignored: "a token request or a read without another registration",
		Silence: Noticed,
		reads: func(*history) decide {
			return func(e *conform.Exchange) (Verdict, string) {
				switch e.Step {
				case conform.Register:
					return Noticed, "it registered again"
				case conform.Token, conform.Refresh, conform.Read:
					return Ignored, "it went on without another registration: " + shown(e)
				}
				return "", ""
			}
		},
	}, tokens, func(*workshop) *Message {
		return refusal(400, "invalid_client", "this client is not registered")
	})
}

func tokenSubset() *Fault {
	return altered(&Fault{
		Name:    "token-subset",
		Stage:   Token,
		Title:   "fewer scopes were granted than asked for",
		Correct: "reads only what the granted scopes cover, or stops",
		Rule:    "S2-15; RFC 6749 3.3 5.1",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a read of a type that no granted scope covers",
		Silence: Noticed,
		reads:   readsMore,
	}, tokens, func(m *Message, _ *workshop) error {
		return m.members(fewerScopes)
	})
}

// readsMore reads requests by the type that they read.
func readsMore(h *history) decide {
	granted := strings.Fields(member(h.faulty.Answer.Body, "scope"))
	asked := strings.Fields(form(h.faulty).Get("scope"))
	for _, e := range h.before {
		if e.Step == conform.Authorize && len(asked) == 0 {
			asked = strings.Fields(query(e).Get("scope"))
		}
	}

	var withheld []string
	for _, scope := range asked {
		if t := typeOf(scope); t != "" && !slices.Contains(granted, scope) {
			withheld = append(withheld, t)
		}
	}

	return func(e *conform.Exchange) (Verdict, string) {
		if e.Step != conform.Read {
			return "", ""
		}
		target, _, _ := strings.Cut(e.Target, "?")
		for _, t := range withheld {
			if slices.Contains(strings.Split(target, "/"), t) {
				return Ignored, "it read " + t + ", which was not granted: " + shown(e)
			}
		}
		return "", ""
	}
}

// typeOf returns the type of resource that a scope names; empty if it names none.
func typeOf(scope string) string {
	_, rest, ok := strings.Cut(scope, "/")
	if !ok {
		return ""
	}
	t, _, _ := strings.Cut(rest, ".")
	return t
}

// shortTime is how long a token with a short life lives.
const shortTime = 5 * time.Second

func shortLife() *Fault {
	return altered(&Fault{
		Name:    "token-short-life",
		Stage:   Token,
		Title:   fmt.Sprintf("the token lives %.0f seconds", shortTime.Seconds()),
		Correct: "gets another token before it reads once more after that time",
		Rule:    "RFC 6749 4.2.2 5.1; RFC 6750 3.1",
		Lasts:   UntilCleared,
		Within:  time.Minute,
		Ignored: "a read after the token's end",
		Silence: NotSeen,
		reads:   readsLate,
	}, tokens, func(m *Message, _ *workshop) error {
		return m.members(func(o map[string]jsontext.Value) error {
			return set(o, "expires_in", int(shortTime.Seconds()))
		})
	})
}

// readsLate reads requests after the token's end.
func readsLate(h *history) decide {
	end := h.faulty.Answered.Add(shortTime)
	return func(e *conform.Exchange) (Verdict, string) {
		switch {
		case e.Step == conform.Token, e.Step == conform.Refresh:
			return Noticed, "it got another token"
		case e.Step == conform.Read && e.Received.After(end.Add(time.Second)):
			return Ignored, fmt.Sprintf("it read %s after the token's end: %s",
				e.Received.Sub(end).Round(time.Second), shown(e))
		}
		return "", ""
	}
}
