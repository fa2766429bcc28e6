package scope

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Catalogue is what a server supports: the list that it publishes as
// scopes_supported (UDAP Security 2.0, 2.2), read once. The zero value
// supports nothing.
type Catalogue struct {
	texts    []string
	resource Set
	plain    []string // openid, fhirUser and the like
	granular func(resourceType, param string) bool
	served   func(resourceType string) bool
}

// NewCatalogue parses a server's list of supported scopes. served reports
// whether a wildcard of the list covers a type; nil means that it covers only
// the types that the list names. granular reports whether the server can enforce
// a search parameter of a type as a restriction; nil means that it can enforce
// none, and no granular scope is granted.
func NewCatalogue(
	supported []string, served func(resourceType string) bool, granular func(resourceType, param string) bool,
) (Catalogue, error) {
	c := Catalogue{
		texts:    slices.Clone(supported),
		served:   served,
		granular: granular,
	}

	for _, text := range supported {
		if err := checkText(text); err != nil {
			return Catalogue{}, err
		}

		s, err := Parse(text)
		switch {
		case err == nil:
			c.resource = append(c.resource, s)
		case isPlain(text):
			c.plain = append(c.plain, text)
		default:
			return Catalogue{}, err
		}
	}

	return c, nil
}

// isPlain distinguishes a scope of another kind, such as launch/patient, from a
// resource scope that is badly written.
func isPlain(text string) bool {
	for _, context := range []string{"system/", "user/", "patient/"} {
		if len(text) >= len(context) && text[:len(context)] == context {
			return false
		}
	}
	return checkText(text) == nil
}

// Supported returns the list for scopes_supported.
func (c Catalogue) Supported() []string {
	return slices.Clone(c.texts)
}

// Answer is the outcome of a negotiation.
type Answer struct {
	Granted  []string // in the order of the request, without repetitions
	Refused  []string // asked for and not granted, not even in part
	Wildcard string   // the first unsupported wildcard; the whole request must be refused for it
	TooMany  bool     // comparing the scopes would take too long: nothing is granted
}

// Request is what a client asks for and may at most have.
type Request struct {
	Scopes   []string
	Contexts []string // contexts that the grant type allows, e.g. "system"; none allows none
	Plain    bool     // scopes that name no resource (openid, ...) may be granted
	Within   []string // scopes that were granted at registration; nil when this is the registration
	Limited  bool     // Within counts, even when it is empty
}

// maxWork bounds one negotiation, in comparisons of two scopes: some
// milliseconds. Wildcards asked for within a thousand granular scopes would
// take minutes.
const maxWork = 500_000

// negotiation is one request under way.
type negotiation struct {
	c       Catalogue
	r       Request
	verbal  map[string]bool // texts of r.Within
	within  map[string]Set  // its resource scopes, by type
	types   []string        // of within, in the order of r.Within
	work    int
	granted map[string]bool
}

// Negotiate grants the part of a request that the server supports and that the
// registration allows (UDAP Security 2.0, 7.3): a scope that is allowed only
// in part is granted in that part, and a supported wildcard is expanded to
// what was registered.
func (c Catalogue) Negotiate(r Request) Answer {
	n := &negotiation{
		c:       c,
		r:       r,
		verbal:  map[string]bool{},
		within:  map[string]Set{},
		granted: map[string]bool{},
	}

	for _, text := range r.Within {
		if s, err := Parse(text); err == nil {
			if n.within[s.Type] == nil {
				n.types = append(n.types, s.Type)
			}
			n.within[s.Type] = append(n.within[s.Type], s)
		}

		n.verbal[text] = true
	}

	var a Answer
	asked := map[string]bool{}
	for _, text := range r.Scopes {
		if asked[text] {
			continue
		}

		asked[text] = true
		if n.add(&a, text); n.work > maxWork {
			return Answer{
				Refused: r.Scopes,
				TooMany: true,
			}
		}
	}

	return a
}

// add puts what one requested scope comes to into the answer.
func (n *negotiation) add(a *Answer, text string) {
	parts, wildcard := n.grant(text)
	if wildcard && a.Wildcard == "" {
		a.Wildcard = text
	}
	if len(parts) == 0 {
		a.Refused = append(a.Refused, text)
	}

	for _, g := range parts {
		if !n.granted[g] {
			n.granted[g] = true
			a.Granted = append(a.Granted, g)
		}
	}
}

// grant returns the parts of one requested scope that may be had, and whether
// it is a wildcard that the server does not support.
func (n *negotiation) grant(text string) (granted []string, wildcard bool) {
	c, r := n.c, n.r
	s, err := Parse(text)
	if err != nil {
		if r.Plain && slices.Contains(c.plain, text) && (!r.Limited || n.verbal[text]) {
			return []string{text}, false
		}
		return nil, false
	}
	if s.Wildcard() && !c.supportsWildcard(s) {
		return nil, true
	}
	if !slices.Contains(r.Contexts, s.Context) {
		return nil, false
	}

	n.work += len(c.resource)
	parts := c.meet(s)
	switch {
	case !r.Limited:
	case n.verbal[text] && slices.ContainsFunc(parts, func(p Scope) bool {
		return p.Raw == text
	}):
		parts = Set{s}
	default:
		parts = n.limited(parts)
	}

	if n.work += len(parts) * len(parts); n.work > maxWork {
		return nil, false
	}

	for _, p := range widest(parts) {
		if c.enforceable(p) {
			granted = append(granted, p.String())
		}
	}

	return granted, false
}

// limited returns what parts of a scope have in common with what was
// registered.
func (n *negotiation) limited(parts Set) Set {
	var out Set
	known := map[string]bool{} // catalogue and registration overlap: the same part comes again and again
	for _, p := range parts {
		types := n.types
		if p.Type != "*" {
			types = []string{p.Type, "*"}
		}

		for _, t := range types {
			limits := n.within[t]
			if n.work += len(limits); n.work > maxWork {
				return nil
			}

			for _, m := range limits.meet(p) {
				if text := m.String(); !known[text] {
					known[text] = true
					out = append(out, m)
				}
			}
		}
	}

	return out
}

// supportsWildcard reports whether the server lists a wildcard, in either
// edition's form.
func (c Catalogue) supportsWildcard(s Scope) bool {
	return slices.ContainsFunc(c.resource, func(l Scope) bool {
		return l.Context == s.Context && l.Type == s.Type && l.Allowed&s.Allowed == s.Allowed &&
			len(l.Query) == 0
	})
}

// names reports whether the list has a scope of a type.
func (c Catalogue) names(resourceType string) bool {
	return slices.ContainsFunc(c.resource, func(l Scope) bool {
		return l.Type == resourceType
	})
}

// wild reports whether the list's wildcards cover a type.
func (c Catalogue) wild(resourceType string) bool {
	if c.served == nil {
		return c.names(resourceType)
	}
	return c.served(resourceType)
}

// meet returns what s and each scope of the list have in common. A wildcard of
// the list covers what the server has, not every word that could be a type.
func (c Catalogue) meet(s Scope) Set {
	var out Set
	for _, limit := range c.resource {
		if limit.Type == "*" && s.Type != "*" && !c.wild(s.Type) {
			continue
		}
		if m, ok := meet(s, limit); ok {
			out = append(out, m)
		}
	}

	return out
}

func (c Catalogue) enforceable(s Scope) bool {
	for _, q := range s.Query {
		if s.Type == "*" || c.granular == nil || !c.granular(s.Type, q.Name) {
			return false
		}
	}
	return true
}

// meet returns what s and each scope of the set have in common.
func (set Set) meet(s Scope) Set {
	var out Set
	for _, limit := range set {
		if m, ok := meet(s, limit); ok {
			out = append(out, m)
		}
	}
	return out
}

// meet returns what two scopes have in common, in the form of asked. Two
// different granular restrictions have nothing in common that a scope can
// express, unless one of them includes the other.
func meet(asked, limit Scope) (Scope, bool) {
	allowed := asked.Allowed & limit.Allowed
	if asked.Context != limit.Context || allowed == 0 {
		return Scope{}, false
	}

	m := Scope{
		Context: asked.Context,
		Type:    asked.Type,
		Allowed: allowed,
		V1:      asked.V1,
	}
	switch {
	case asked.Type == limit.Type || limit.Type == "*":
	case asked.Type == "*":
		m.Type = limit.Type
	default:
		return Scope{}, false
	}

	switch {
	case includes(asked.Query, limit.Query):
		m.Query = asked.Query
	case includes(limit.Query, asked.Query):
		m.Query = limit.Query
	default:
		return Scope{}, false
	}

	if m.Type == asked.Type && m.Allowed == asked.Allowed && len(m.Query) == len(asked.Query) {
		m.Raw = asked.Raw
	}
	return m, true
}

// includes reports whether q holds every restriction of other.
func includes(q, other []Param) bool {
	for _, o := range other {
		if !slices.Contains(q, o) {
			return false
		}
	}
	return true
}

// widest leaves out every scope that another one of the set covers.
func widest(set Set) Set {
	var out Set
	for i, s := range set {
		covered := false
		for j, o := range set {
			if i != j && covers(o, s) && (!covers(s, o) || j < i) {
				covered = true
				break
			}
		}

		if !covered {
			out = append(out, s)
		}
	}

	return out
}

func covers(wide, narrow Scope) bool {
	return wide.Context == narrow.Context && (wide.Type == narrow.Type || wide.Type == "*") &&
		wide.Allowed&narrow.Allowed == narrow.Allowed && includes(narrow.Query, wide.Query)
}

// Why returns what is wrong with a scope that Negotiate did not grant, and what
// to ask for instead; empty when nothing is known.
func (c Catalogue) Why(r Request, text string) string {
	if meant := c.meant(text); meant != "" {
		return fmt.Sprintf("there is %q: did you mean %q?", clip(text), meant)
	}

	s, err := Parse(text)
	contexts := strings.Join(r.Contexts, " or ")
	switch {
	case errors.Is(err, ErrNotResource) && !r.Plain:
		return fmt.Sprintf("%q is no scope of this grant type, which has scopes of the context %s",
			clip(text), contexts)
	case errors.Is(err, ErrNotResource):
		return fmt.Sprintf("%q is not listed", clip(text))
	case err != nil:
		return err.Error()
	case len(r.Contexts) > 0 && !slices.Contains(r.Contexts, s.Context):
		return fmt.Sprintf(
			"%q: this grant type has scopes of the context %s",
			clip(text),
			contexts,
		)

	case s.Wildcard():
		return c.instead(s)
	case len(c.meet(s)) > 0 && len(s.Query) > 0:
		return fmt.Sprintf("%q: this server cannot enforce that restriction", clip(text))
	case !c.names(s.Type) && !c.wild(s.Type):
		return fmt.Sprintf(
			"%q: this server has no scopes of the type %s",
			clip(text),
			s.Type,
		)
	case r.Limited && len(c.meet(s)) > 0:
		return fmt.Sprintf("%q: register for it first", clip(text))
	}

	return fmt.Sprintf("%q: the list allows less on %s", clip(text), s.Type)
}

// instead names the wildcards of the list in place of one that is not listed.
func (c Catalogue) instead(s Scope) string {
	var wild []string
	for _, l := range c.resource {
		if l.Context == s.Context && l.Type == "*" {
			wild = append(wild, l.Raw)
		}
	}

	if len(wild) == 0 {
		return "no wildcard is listed: ask for single resource types"
	}
	return "the wildcards listed are " + strings.Join(wild, " ") +
		": ask for one of these, or for single resource types"
}

// meant returns the scope of the list that differs from text in case only.
func (c Catalogue) meant(text string) string {
	for _, s := range c.texts {
		if s != text && strings.EqualFold(s, text) {
			return s
		}
	}
	return ""
}

// clip bounds a scope for a message.
func clip(text string) string {
	return text[:min(len(text), 80)]
}
