package answer

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/conform"
)

const (
	stopsUnregistered = "does not use a client_id that this answer did not give, does not send the same statement " +
		"again, and reports the error"
	usesRegistration = "an authorization, a token request, a read, or the same software statement again"
)

// afterRegistration reads what only a registered client does, and the same statement
// again, as ignoring.
var afterRegistration = either(
	goesOn(conform.Authorize, conform.Token, conform.Refresh, conform.Read),
	resends,
)

// ofRegistration is a fault of an answer to a software statement under which a
// client is not registered.
func ofRegistration(name, title, rule string) *Fault {
	return &Fault{
		Name:    "registration-" + name,
		Stage:   Registration,
		Title:   title,
		Correct: stopsUnregistered,
		Rule:    rule,
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: usesRegistration,
		Silence: Noticed,
		reads:   afterRegistration,
	}
}

// replaced is a fault whose answer comes in place of the destination's, which does
// not see the request.
func replaced(f *Fault, at point, by func(*workshop) *Message) *Fault {
	f.instead = map[point]func(*workshop) *Message{at: by}
	return f
}

// altered is a fault of the destination's own answer.
func altered(f *Fault, at point, c change) *Fault {
	f.changes = map[point]change{at: c}
	return f
}

func registrationFaults() []*Fault {
	return slices.Concat(registrationErrors(), registrationAnswers(), registrationTimes(), []*Fault{
		registrationSubset(),
		otherClientID(),
		redirected("registration", Registration, registering),
	})
}

// registrationErrors are refusals, one for each code.
func registrationErrors() (all []*Fault) {
	for _, e := range []struct{ code, text string }{
		{"invalid_software_statement", "the statement was not accepted"},
		{"unapproved_software_statement", "the certificate is not trusted here"},
		{"invalid_client_metadata", "a registration parameter was not accepted"},
		{"invalid_redirect_uri", "a redirect URI was not accepted"},
		{"invalid_certification", "a certification was not accepted"},
		{"unapproved_certification", "a certification is needed that was not given"},
	} {
		f := ofRegistration(
			strings.ReplaceAll(e.code, "_", "-"),
			"the registration is refused with "+e.code,
			"S1-107; RFC 7591 3.2.2",
		)
		all = append(all, replaced(f, registering, func(*workshop) *Message {
			return refusal(400, e.code, e.text)
		}))
	}
	return all
}

// registrationAnswers are answers that look like success.
func registrationAnswers() []*Fault {
	member := func(name, title, member string, value any) *Fault {
		f := ofRegistration(name, title, "S2-10; RFC 7591 3.2.1")
		return altered(f, registering, func(m *Message, _ *workshop) error {
			return m.registered(func(o map[string]jsontext.Value) error {
				if _, there := o[member]; !there && member != "error" {
					return errNot
				}
				return set(o, member, value)
			})
		})
	}

	return []*Fault{
		member("no-client-id", "201 with an empty client_id", "client_id", ""),
		member("error-with-success", "201 with an error in the same object", "error", "invalid_client_metadata"),
		member("other-statement", "the statement in the answer is not the one that was sent",
			"software_statement", "e30.e30.e30"),
		member("other-grant", "another grant type was registered than was asked for",
			"grant_types", []string{"implicit"}),
		member("other-authentication", "a secret was registered in place of the key",
			"token_endpoint_auth_method", "client_secret_basic"),
		member("other-redirect", "another redirect URI was registered than was asked for",
			"redirect_uris", []string{"https://elsewhere.invalid/callback"}),
		altered(ofRegistration("html", "a web page with the status 201", "S2-10; RFC 7591 3.2.1"),
			registering, func(m *Message, _ *workshop) error {
				m.become(plain(201, "text/html", page))
				return nil
			}),
		altered(ofRegistration("cut", "the answer ends in the middle", "RFC 9112 8"),
			registering, cut),
		altered(ofRegistration("server-error", "500, although the registration was made", "RFC 9110 15.6.1"),
			registering, func(m *Message, _ *workshop) error {
				m.become(plain(500, "text/plain", "internal error"))
				return nil
			}),
	}
}

// registered changes an answer that registers, and none that cancels.
func (m *Message) registered(f func(map[string]jsontext.Value) error) error {
	return m.members(func(o map[string]jsontext.Value) error {
		var grants []string
		if json.Unmarshal(o["grant_types"], &grants) != nil || len(grants) == 0 {
			return errNot
		}
		return f(o)
	})
}

// cut ends an answer in the middle.
func cut(m *Message, _ *workshop) error {
	if len(m.Body) < 2 {
		return errNot
	}
	m.Cut = true
	return nil
}

const waitTime = 20 * time.Second

// registrationTimes are requests to wait.
func registrationTimes() []*Fault {
	return []*Fault{
		waiting("registration", Registration, registering, 429),
		waiting("registration", Registration, registering, 503),
	}
}

// waiting is one answer that asks to wait. The destination does not see the request.
func waiting(prefix string, stage Stage, at point, status int) *Fault {
	name, title := "-429", "429 with Retry-After: 20"
	if status == 503 {
		name, title = "-503", "503 with Retry-After: 20"
	}

	f := &Fault{
		Name:    prefix + name,
		Stage:   stage,
		Title:   title,
		Correct: "waits 20 seconds before it asks again, or stops",
		Rule:    "RFC 6585 4; RFC 9110 10.2.3",
		Lasts:   OneAnswer,
		Within:  halfMinute,
		Ignored: "the same kind of request in less than 20 seconds",
		Silence: Noticed,
		reads:   sooner(waitTime),
	}
	return replaced(f, at, func(*workshop) *Message {
		if at == resources {
			return outcome(status, "throttled", "too many requests", "Retry-After", "20")
		}
		return refusal(status, "temporarily_unavailable", "too many requests", "Retry-After", "20")
	})
}

// redirected is an answer that sends a signed document to another URL.
func redirected(prefix string, stage Stage, at point) *Fault {
	f := &Fault{
		Name:    prefix + "-redirect",
		Stage:   stage,
		Title:   "307 to a URL that the signed metadata does not name",
		Correct: "does not follow: a signed document goes to the signed endpoints alone",
		Rule:    "S2-07 S1-021; RFC 9700 4.12",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a request to the URL of the redirect",
		Silence: Noticed,
		reads:   follows(unannounced),
	}
	return replaced(f, at, func(w *workshop) *Message {
		return plain(307, "text/plain", "", "Location", w.Issuer+unannounced)
	})
}

func registrationSubset() *Fault {
	return altered(&Fault{
		Name:    "registration-subset",
		Stage:   Registration,
		Title:   "fewer scopes were registered than asked for",
		Correct: "asks for no more than was registered, or stops",
		Rule:    "S2-10 S1-097; RFC 7591 3.2.1",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "an authorization or token request for a scope that was not registered",
		Silence: Noticed,
		reads:   usesUnregistered,
	}, registering, func(m *Message, _ *workshop) error {
		return m.registered(fewerScopes)
	})
}

// fewerScopes leaves out the last scope that names resources.
func fewerScopes(o map[string]jsontext.Value) error {
	all := strings.Fields(text(o, "scope"))
	i := len(all) - 1
	for i >= 0 && !strings.Contains(all[i], "/") {
		i--
	}
	if i < 0 || len(all) < 2 {
		return errNot
	}
	return set(o, "scope", strings.Join(slices.Delete(all, i, i+1), " "))
}

// usesUnregistered reads requests by their scopes.
func usesUnregistered(h *history) decide {
	registered := strings.Fields(member(h.faulty.Answer.Body, "scope"))
	return func(e *conform.Exchange) (Verdict, string) {
		asked := ""
		switch e.Step {
		case conform.Token, conform.Refresh:
			asked = form(e).Get("scope")
		case conform.Authorize:
			asked = query(e).Get("scope")
		default:
			return "", ""
		}

		for _, scope := range strings.Fields(asked) {
			if strings.Contains(scope, "/") && !slices.Contains(registered, scope) {
				return Ignored, "it asked for " + scope + ", which was not registered"
			}
		}
		return Noticed, "it asked for no more than was registered: " + shown(e)
	}
}

func otherClientID() *Fault {
	return altered(&Fault{
		Name:    "registration-other-client-id",
		Stage:   Registration,
		Title:   "a change of the registration is answered with another client_id",
		Correct: "uses the new client_id from then on, and never the old one",
		Rule:    "S1-067; UDAP Security 3.4",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "an authorization or token request under the old client_id",
		Silence: NotSeen,
		reads:   usesOldClientID,
	}, registering, func(m *Message, _ *workshop) error {
		if m.Status != 200 {
			return errNot
		}
		return m.registered(func(o map[string]jsontext.Value) error {
			return set(o, "client_id", text(o, "client_id")+"-anew")
		})
	})
}

// usesOldClientID reads requests by their client_id.
func usesOldClientID(h *history) decide {
	now := member(h.faulty.Answer.Body, "client_id")
	return func(e *conform.Exchange) (Verdict, string) {
		used := ""
		switch e.Step {
		case conform.Token, conform.Refresh:
			used = claim(form(e).Get("client_assertion"), "iss")
		case conform.Authorize:
			used = query(e).Get("client_id")
		}

		switch used {
		case "":
			return "", ""
		case now:
			return Noticed, "it used the new client_id: " + shown(e)
		}
		return Ignored, "it used the old client_id: " + shown(e)
	}
}

// member returns a string member of a body that is a JSON object; empty if there is
// none.
func member(body []byte, name string) string {
	var o map[string]jsontext.Value
	_ = json.Unmarshal(body, &o) // no object has no member
	return text(o, name)
}

// claim returns a string claim of a compact JWS, unverified.
func claim(compact, name string) string {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1]) // what is no base64 has no claim
	return member(payload, name)
}
