package answer

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap/conform"
)

// elsewhere is in every URL to which no client shall follow.
const elsewhere = "/elsewhere/"

// unread is a fault of a FHIR answer that holds nothing usable.
func unread(name, title, rule string, c change) *Fault {
	return altered(&Fault{
		Name:    name,
		Stage:   FHIR,
		Title:   title,
		Correct: "uses nothing of the answer, stops and reports; it reads nothing for ten seconds",
		Rule:    rule,
		Lasts:   OneAnswer,
		Within:  10 * time.Second,
		Ignored: "another read in less than ten seconds",
		Silence: Noticed,
		reads:   goesOn(conform.Read),
	}, resources, c)
}

func fhirFaults() []*Fault {
	return []*Fault{
		spentToken(),
		insufficient(),
		waiting("fhir", FHIR, resources, 429),
		waiting("fhir", FHIR, resources, 503),
		leads("fhir-next-elsewhere", "the next link of a page leads to another host",
			nextTo(func(w *workshop) string {
				return w.Elsewhere + path(w.Base) + elsewhere
			}), NeedsElsewhere),
		leads("fhir-next-outside", "the next link of a page leads out of the FHIR base",
			nextTo(func(w *workshop) string {
				return w.Issuer + elsewhere
			}), NeedsNothing),
		leads("fhir-redirect-elsewhere", "307 to another host", redirectTo(func(w *workshop) string {
			return w.Elsewhere + path(w.Base) + elsewhere
		}), NeedsElsewhere),
		leads("fhir-redirect-outside", "307 out of the FHIR base", redirectTo(func(w *workshop) string {
			return w.Issuer + elsewhere
		}), NeedsNothing),
		repeatedPage(),
		otherResource(),
		unread("fhir-html", "a web page with the status 200", "FHIR R4 http.html 3.1.0.1.9",
			func(m *Message, _ *workshop) error {
				m.become(plain(200, "text/html", page))
				return nil
			}),
		unread("fhir-outcome", "an OperationOutcome of an error with the status 200", "FHIR R4 http.html 3.1.0.1.11",
			func(m *Message, _ *workshop) error {
				m.become(outcome(200, "exception", "the records cannot be read now"))
				return nil
			}),
		unread("fhir-other-type", "another type of resource than was asked for", "FHIR R4 http.html 3.1.0.2",
			func(m *Message, _ *workshop) error {
				body := `{"resourceType":"Basic","id":"lab","code":{"text":"lab"}}`
				m.become(plain(200, "application/fhir+json", body))
				return nil
			}),
	}
}

// spentToken is a token that is no longer good in the middle of its use.
func spentToken() *Fault {
	return replaced(&Fault{
		Name:    "fhir-401",
		Stage:   FHIR,
		Title:   "401 invalid_token in the middle of use",
		Correct: "gets another token before it reads on, or stops",
		Rule:    "RFC 6750 3.1",
		Lasts:   OneAnswer,
		Within:  halfMinute,
		Ignored: "another read with the same token",
		Silence: Noticed,
		reads: func(h *history) decide {
			used := field(h.faulty.Request, "authorization")
			return func(e *conform.Exchange) (Verdict, string) {
				switch {
				case e.Step == conform.Token, e.Step == conform.Refresh, e.Step == conform.Authorize:
					return Noticed, "it asked for another token"
				case e.Step == conform.Read && field(e.Request, "authorization") == used:
					return Ignored, "it read with the same token: " + shown(e)
				}
				return "", ""
			}
		},
	}, resources, func(*workshop) *Message {
		return outcome(401, "login", "the access token has expired or was revoked",
			"WWW-Authenticate", `Bearer error="invalid_token"`)
	})
}

func insufficient() *Fault {
	return replaced(&Fault{
		Name:    "fhir-403",
		Stage:   FHIR,
		Title:   "403 insufficient_scope",
		Correct: "does not ask the same again with the same token",
		Rule:    "RFC 6750 3.1",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "the same read with the same token",
		Silence: Noticed,
		reads: func(h *history) decide {
			used := field(h.faulty.Request, "authorization")
			return func(e *conform.Exchange) (Verdict, string) {
				if e.Target == h.faulty.Target && field(e.Request, "authorization") == used {
					return Ignored, "it asked the same again: " + shown(e)
				}
				return "", ""
			}
		},
	}, resources, func(*workshop) *Message {
		return outcome(403, "forbidden", "the token does not cover this request",
			"WWW-Authenticate", `Bearer error="insufficient_scope"`)
	})
}

// leads is a fault whose answer leads where the token must not go.
func leads(name, title string, c change, needs Need) *Fault {
	return altered(&Fault{
		Name:    name,
		Stage:   FHIR,
		Title:   title,
		Correct: "does not follow: the token goes nowhere but under the FHIR base",
		Rule:    "S2-22; RFC 6750 5.2",
		Lasts:   UntilCleared,
		Needs:   needs,
		Within:  halfMinute,
		Ignored: "a request to that URL",
		Silence: Noticed,
		reads:   follows(elsewhere),
	}, resources, c)
}

// nextTo gives a page a next link.
func nextTo(place func(*workshop) string) change {
	return func(m *Message, w *workshop) error {
		return nextLink(m, place(w)+"page-2")
	}
}

func nextLink(m *Message, target string) error {
	return m.members(func(o map[string]jsontext.Value) error {
		if text(o, "resourceType") != "Bundle" || text(o, "type") != "searchset" {
			return errNot
		}

		type link struct {
			Relation string `json:"relation"`
			URL      string `json:"url"`
		}
		var links, kept []link
		if o["link"] != nil && json.Unmarshal(o["link"], &links) != nil {
			return errNot
		}
		for _, l := range links {
			if l.Relation != "next" {
				kept = append(kept, l)
			}
		}
		return set(o, "link", append(kept, link{
			Relation: "next",
			URL:      target,
		}))
	})
}

func redirectTo(place func(*workshop) string) change {
	return func(m *Message, w *workshop) error {
		m.become(plain(307, "text/plain", "", "Location", place(w)+"moved"))
		return nil
	}
}

// repeatedPage is a page whose next page is itself.
func repeatedPage() *Fault {
	return altered(&Fault{
		Name:    "fhir-page-repeated",
		Stage:   FHIR,
		Title:   "the next link of a page leads to the same page, for ever",
		Correct: "notices that it has been there, and stops",
		Rule:    "FHIR R4 http.html 3.1.0.10; RFC 8288 3",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "the same page again",
		Silence: Noticed,
		reads: func(h *history) decide {
			page := again(h.faulty.Target)
			return func(e *conform.Exchange) (Verdict, string) {
				switch {
				case e.Step != conform.Read || again(e.Target) != page:
					return "", ""
				case e.Target != page:
					return Noticed, "it began anew: " + shown(e)
				case e.Target == h.faulty.Target:
					return Ignored, "it read the same page again: " + shown(e)
				}
				return "", "" // that it is the same page is not known before it was read
			}
		},
	}, resources, func(m *Message, w *workshop) error {
		return nextLink(m, origin(w.Base)+again(m.Request.URL.RequestURI()))
	})
}

// repeated is json in a spelling that no client chooses: by it a page that was reached
// over a link differs from the same search, sent once more.
const repeated = "_format=%6Ason"

// again returns the target of a page with the mark of a link to it.
func again(target string) string {
	switch {
	case strings.HasSuffix(target, repeated):
		return target
	case strings.Contains(target, "?"):
		return target + "&" + repeated
	}
	return target + "?" + repeated
}

// bait is the id of a resource that does not exist.
const bait = "lab-another-patient"

// otherResource is the right type with another id.
func otherResource() *Fault {
	return altered(&Fault{
		Name:    "fhir-other-resource",
		Stage:   FHIR,
		Title:   "another resource than the one whose id was asked for",
		Correct: "uses nothing of it: it is about somebody else",
		Rule:    "FHIR R4 http.html 3.1.0.2",
		Lasts:   UntilCleared,
		Within:  halfMinute,
		Ignored: "a request for the id of the other resource",
		Silence: Noticed,
		reads:   follows(bait),
	}, resources, func(m *Message, _ *workshop) error {
		return m.members(func(o map[string]jsontext.Value) error {
			if id := text(o, "id"); id == "" || !strings.HasSuffix(m.Request.URL.Path, "/"+id) {
				return errNot
			}
			return set(o, "id", bait)
		})
	})
}
