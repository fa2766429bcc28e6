package answer

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/conform"
)

// Verdict is what is known about a client and a fault.
type Verdict string

// The verdicts.
const (
	Noticed Verdict = "noticed"
	Ignored Verdict = "ignored"
	NotSeen Verdict = "not seen" // no answer had the fault, or nothing followed that shows
	Waiting Verdict = "waiting"  // the time of the fault has not passed
)

// Outcome is what a client did about a fault.
type Outcome struct {
	Fault   string    `json:"fault"`
	Verdict Verdict   `json:"verdict"`
	Text    string    `json:"text"`             // what the client did, in words
	Seen    uint64    `json:"seen,omitzero"`    // number of the exchange that had the fault
	Decided uint64    `json:"decided,omitzero"` // number of the exchange that decided; 0: none did
	Until   time.Time `json:"until,omitzero"`   // the end of the time in which requests are read
}

const halfMinute = 30 * time.Second

// decide is what one request shows; empty: nothing.
type decide func(e *conform.Exchange) (Verdict, string)

// history is what was exchanged until an answer had the fault.
type history struct {
	faulty *conform.Exchange
	before []*conform.Exchange // of the same client, in order
}

// Read returns what a client did about a fault: all is what it exchanged, in order;
// exchanges whose answers had the fault have its name. Of several answers with the
// fault, one that was ignored decides, then one that was noticed, then the last.
func (f *Fault) Read(all []*conform.Exchange, now time.Time) Outcome {
	// An exchange has its number when its answer has ended: what followed may have one before.
	all = slices.SortedStableFunc(slices.Values(all), func(a, b *conform.Exchange) int {
		return a.Received.Compare(b.Received)
	})
	out := Outcome{
		Fault:   f.Name,
		Verdict: NotSeen,
		Text:    "no answer had the fault",
	}
	for i, e := range all {
		if e.Fault != f.Name {
			continue
		}

		next := f.after(all[:i], e, all[i+1:], now)
		if next.Verdict == Ignored {
			return next
		}
		if out.Verdict != Noticed {
			out = next
		}
	}

	return out
}

// after reads what followed one answer.
func (f *Fault) after(
	before []*conform.Exchange, faulty *conform.Exchange, next []*conform.Exchange, now time.Time,
) Outcome {
	out := Outcome{
		Fault: f.Name,
		Seen:  faulty.N,
		Until: faulty.Received.Add(f.Within),
	}
	decide := f.reads(&history{
		faulty: faulty,
		before: before,
	})

	if f.Stage == TLS { // the exchange itself is what followed
		next = []*conform.Exchange{faulty}
	}
	for _, e := range next {
		if e.Received.After(out.Until) {
			break
		}
		if f.Stage != TLS && e.Received.Before(faulty.FaultFrom) {
			continue // it was under way already
		}
		if v, text := decide(e); v != "" {
			out.Verdict, out.Text, out.Decided = v, text, e.N
			return out
		}
	}

	out.Verdict = f.Silence
	out.Text = fmt.Sprintf("within %s there was not: %s", f.Within, f.Ignored)
	switch {
	case now.Before(out.Until):
		out.Verdict, out.Text = Waiting, "until "+out.Until.UTC().Format(time.TimeOnly)+" UTC requests are read"
	case f.Silence == NotSeen:
		out.Text = fmt.Sprintf("within %s nothing followed that shows what the client makes of it", f.Within)
	}

	return out
}

// afterDiscovery are the steps that metadata leads to.
var afterDiscovery = []conform.Step{
	conform.Register,
	conform.Authorize,
	conform.Token,
	conform.Refresh,
	conform.Read,
}

// shown names a request.
func shown(e *conform.Exchange) string {
	target, _, _ := strings.Cut(e.Target, "?")
	return fmt.Sprintf("%s %.200s", e.Method, target)
}

// goesOn reads any request of these steps as ignoring.
func goesOn(steps ...conform.Step) func(*history) decide {
	return func(*history) decide {
		return func(e *conform.Exchange) (Verdict, string) {
			if slices.Contains(steps, e.Step) {
				return Ignored, "it went on: " + shown(e)
			}
			return "", ""
		}
	}
}

// anyTarget reads a request whose target contains a text as ignoring, and one of
// the steps after discovery as noticing.
func anyTarget(part string) func(*history) decide {
	return func(*history) decide {
		return func(e *conform.Exchange) (Verdict, string) {
			switch {
			case strings.Contains(e.Target, part):
				return Ignored, "it followed: " + shown(e)
			case e.Step == conform.Register || e.Step == conform.Token:
				return Noticed, "it used another endpoint: " + shown(e)
			}
			return "", ""
		}
	}
}

// follows reads a request whose target contains a text as ignoring.
func follows(part string) func(*history) decide {
	return func(*history) decide {
		return func(e *conform.Exchange) (Verdict, string) {
			if strings.Contains(e.Target, part) {
				return Ignored, "it followed: " + shown(e)
			}
			return "", ""
		}
	}
}

// sooner reads a request of the same step before the time as ignoring.
func sooner(wait time.Duration) func(*history) decide {
	return func(h *history) decide {
		return func(e *conform.Exchange) (Verdict, string) {
			if e.Step != h.faulty.Step {
				return "", ""
			}

			after := e.Received.Sub(h.faulty.Answered).Round(time.Second / 10)
			if after < wait {
				return Ignored, fmt.Sprintf("it asked again after %s, not after %s: %s", after, wait, shown(e))
			}
			return Noticed, fmt.Sprintf("it waited %s: %s", after, shown(e))
		}
	}
}

// resends reads the same signed document once more as ignoring, another one as
// noticing.
func resends(h *history) decide {
	first := signedIn(h.faulty)
	return func(e *conform.Exchange) (Verdict, string) {
		signed := signedIn(e)
		switch {
		case signed == "" || first == "":
			return "", ""
		case signed == first:
			return Ignored, "it sent the same signed document again, which is spent: " + shown(e)
		case e.Step == h.faulty.Step:
			return Noticed, "it sent a new signed document: " + shown(e)
		}
		return "", ""
	}
}

// either reads by the first of several readings that decides.
func either(readings ...func(*history) decide) func(*history) decide {
	return func(h *history) decide {
		var all []decide
		for _, r := range readings {
			all = append(all, r(h))
		}

		return func(e *conform.Exchange) (Verdict, string) {
			for _, d := range all {
				if v, text := d(e); v != "" {
					return v, text
				}
			}
			return "", ""
		}
	}
}

// signedIn returns the signed document of a request: a software statement or an
// authentication token.
func signedIn(e *conform.Exchange) string {
	if e.Step == conform.Register || e.Step == conform.Cancel {
		return member(e.Request.Body, "software_statement")
	}
	return form(e).Get("client_assertion")
}

// form returns the parameters of a request's body.
func form(e *conform.Exchange) url.Values {
	v, _ := url.ParseQuery(string(e.Request.Body)) // what can be read counts
	return v
}

// field returns a field of a message's head, by its name in small letters.
func field(m conform.Message, name string) string {
	for line := range bytes.SplitSeq(m.Head, []byte("\n")) {
		key, value, ok := strings.Cut(string(line), ":")
		if ok && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
