package fhir

import (
	"bytes"
	"net/url"
	"strings"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
)

// A resource that is sent may name this server by its private base, or by the
// other scheme. What is given back names it by the public base alone (exchange
// routing, destination: references to itself), so these are the only bytes of
// a body, id and meta aside, that are not kept as sent.

// ownURL gives a URL of ours under the public base, and any other as it is.
func (s *core) ownURL(u string) string {
	for _, base := range s.ex.Bases {
		if rest, ok := strings.CutPrefix(u, base); ok && base != s.PublicBase && (rest == "" ||
			rest[0] == '/') {
			return s.PublicBase + rest
		}
	}
	return u
}

// ownURLs puts every string of a body that is a URL of ours under the public
// base.
func (s *core) ownURLs(body []byte, root *tree.Value) ([]byte, *tree.Value, error) {
	if !s.namesHost(body) {
		return body, root, nil
	}

	var edits []splice.Edit
	eachString(root, func(v *tree.Value) error {
		text := v.Text()
		if own := s.ownURL(text); own != text {
			edits = append(edits, splice.Edit{
				From: v.From,
				To:   v.To(),
				With: string(appendString(nil, own)),
			})
		}

		return nil
	})

	if len(edits) == 0 {
		return body, root, nil
	}

	body = splice.Apply(body, edits...)
	root, err := tree.Parse(body)
	return body, root, err
}

// namesHost reports whether the host of a base occurs anywhere in a body; in
// most it does not.
func (s *core) namesHost(body []byte) bool {
	for _, base := range s.ex.Bases {
		if u, err := url.Parse(base); err == nil && bytes.Contains(body, []byte(u.Host)) {
			return true
		}
	}
	return false
}

// ownQuery puts URLs of ours in a query under the public base: the self link
// repeats them.
func (s *core) ownQuery(pairs []search.Pair) []search.Pair {
	for i, p := range pairs {
		if !strings.Contains(p.Value, "://") {
			continue
		}

		values := strings.Split(p.Value, ",")
		for j, v := range values {
			values[j] = s.ownURL(v)
		}

		pairs[i].Value = strings.Join(values, ",")
	}

	return pairs
}
