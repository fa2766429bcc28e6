package client

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/trace"
)

// The further checks of reading.
var (
	checkLives    = trace.NewCheck("get.token", "The access token has not ended, and a scope of it covers the type", "")
	checkResource = trace.NewCheck("get.resource", "The answer is the FHIR resource that was asked for", "")
	checkPage     = trace.NewCheck("get.page", "The next page is under the FHIR base and was not read before", "S2-22")
)

// Reader is an originator that reads with a token whose end and scopes it knows.
type Reader struct {
	*Client
	Token *Token
}

// Get reads a path under the FHIR base. Nothing is sent once the token has ended (RFC
// 6749 5.1), nor for a type of resource that no scope of it names. A token without an
// end or without scopes is sent until it is refused.
func (c Reader) Get(ctx context.Context, path string) (*Read, error) {
	t := c.Token
	now := c.cfg.Now()
	out := &Read{Trace: trace.NewTrace("get", now)}
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return out, stop(
			out.Trace,
			checkLives,
			"a token that ends after "+trace.Stamp(now),
			"it ended at "+trace.Stamp(t.Expires),
			"get another one first",
		)
	}
	if name := (located{c.cfg.Base, path}).first(); name != "" && t.Scope != "" && !covers(t.Scope, name) {
		return out, stop(
			out.Trace,
			checkLives,
			"a scope for "+name,
			trace.Cut(t.Scope, 200),
			"the destination did not grant it: ask for it, or read what was granted",
		)
	}

	return c.Client.Get(ctx, path, t.Access)
}

// located is a URL, or a path, below a FHIR base.
type located struct{ base, target string }

// segments returns the path below the base, without its query; nil if there is none.
func (l located) segments() []string {
	path := strings.TrimPrefix(l.target, l.base)
	if strings.Contains(path, "://") {
		return nil
	}
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "/"), "?")
	return strings.Split(path, "/")
}

// first returns the type of resource that the path names first; empty if it names
// none.
func (l located) first() string {
	s := l.segments()
	if len(s) == 0 || s[0] == "" || s[0][0] < 'A' || s[0][0] > 'Z' {
		return ""
	}
	return s[0]
}

// covers reports whether any of the scopes names a type of resource, or all types.
func covers(scopes, name string) bool {
	return slices.ContainsFunc(strings.Fields(scopes), func(s string) bool {
		_, rest, _ := strings.Cut(s, "/")
		got, _, ok := strings.Cut(rest, ".")
		return ok && (got == name || got == "*")
	})
}

// expected returns the type and the id of what a read answers; both are empty where
// that is not known.
func (l located) expected() (name, id string) {
	_, query, _ := strings.Cut(l.target, "?")
	name, s := l.first(), l.segments()
	switch {
	case name == "", strings.Contains(query, "_format="):
		return "", ""
	case len(s) == 1:
		return "Bundle", ""
	case len(s) == 2 && s[1] != "" && !strings.HasPrefix(s[1], "$") && !strings.HasPrefix(s[1], "_"):
		return name, s[1]
	}
	return "", ""
}

// isAsked checks that an answer is the resource that was asked for.
func (out *Read) isAsked(base string) error {
	name, id := located{base, out.URL}.expected()
	if name == "" {
		out.Trace.Skip(checkResource, "what this path answers is not known")
		return nil
	}

	o, err := readObject(out.Trace, out.Reply)
	if err != nil {
		return err
	}

	wanted, found := name, o.text("resourceType")
	if id != "" {
		wanted, found = name+"/"+id, found+"/"+o.text("id")
	}
	if wanted != found {
		return stop(out.Trace, checkResource, wanted, trace.Cut(found, 200), "nothing of the answer is used")
	}

	out.Trace.Pass(checkResource, wanted, found)
	return nil
}

// maxPages bounds how many pages are read of one search.
const maxPages = 10_000

// Pages reads a search and every further page of it, and calls each with each of
// them. A next link that leads out of the FHIR base, or to a page that was read, ends
// it with an error, as does one of each; the last Read is returned.
func (c Reader) Pages(ctx context.Context, path string, each func(*Read) error) (*Read, error) {
	seen := map[string]bool{}
	for {
		out, err := c.Get(ctx, path)
		if err != nil {
			return out, err
		}
		if err := each(out); err != nil {
			return out, err
		}

		seen[out.URL] = true
		next := out.next()
		if next == "" {
			return out, nil
		}
		if _, err := c.under(next); err != nil || !strings.Contains(next, "://") {
			return out, stop(out.Trace, checkPage, "a URL under "+c.cfg.Base, next, "the token is sent nowhere else")
		}
		if seen[next] || len(seen) == maxPages {
			return out, stop(out.Trace, checkPage, "a page that was not read before",
				fmt.Sprintf("%s after %d pages", next, len(seen)), "the destination's pages lead in a circle")
		}
		out.Trace.Pass(checkPage, "", "")
		path = next
	}
}

// next returns the URL of the next page; empty if there is none.
func (out *Read) next() string {
	var bundle struct {
		Link []struct {
			Relation string `json:"relation"`
			URL      string `json:"url"`
		} `json:"link"`
	}
	if out.Reply.Status != http.StatusOK || json.Unmarshal(out.Reply.Body, &bundle) != nil {
		return ""
	}
	for _, l := range bundle.Link {
		if l.Relation == "next" {
			return l.URL
		}
	}
	return ""
}
