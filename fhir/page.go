package fhir

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"

	"fhirdest.example/fhir/search"
)

// pageKey seals the links between pages: nobody but this server reads or makes
// one.
type pageKey struct{ cipher.AEAD }

func newPageKey(secret []byte) (pageKey, error) {
	sum := sha256.Sum256(secret)
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		return pageKey{}, err
	}
	aead, err := cipher.NewGCM(block)
	return pageKey{aead}, err
}

// mark is where a page begins: at a position of the result, before or after it.
type mark struct {
	whence   byte // 0 from the start, 'a' after, 'b' before, 'l' the last page
	position []byte
}

// pageParam carries a sealed mark and query.
const pageParam = "_page"

func badPage() error {
	return fail(
		http.StatusGone,
		"expired",
		"This page link is not good for this token: search again.",
	)
}

// seal makes the value of _page: the query and mark, readable with the same
// grant and path only.
func (s *core) seal(r *request, at lookup, q *search.Query, m mark) string {
	plain := []byte{m.whence}
	plain = binary.AppendUvarint(plain, uint64(len(m.position)))
	plain = append(plain, m.position...)
	plain = append(plain, encodePairs(q.Used)...)
	nonce := make([]byte, s.pageKey.NonceSize())
	rand.Read(nonce)
	return base64.RawURLEncoding.EncodeToString(s.pageKey.Seal(nonce, nonce, plain, r.pageBinding(at)))
}

// pageURL links to the page at a mark, in the form that this one has.
func (s *core) pageURL(r *request, at lookup, q *search.Query, m mark) string {
	u := s.PublicBase
	if at.path != "" {
		u += "/" + at.path
	}
	pairs := []search.Pair{{
		Name:  pageParam,
		Value: s.seal(r, at, q, m),
	}}

	for _, p := range r.query {
		if p.Name == "_format" || p.Name == "_pretty" {
			pairs = append(pairs, p)
		}
	}

	return u + "?" + encodePairs(pairs)
}

// pageBinding is what must be the same when a link is followed.
func (r *request) pageBinding(at lookup) []byte {
	if r.binding == nil {
		b := binding(r.grant)
		r.binding = b[:]
	}
	return append(r.binding[:len(r.binding):len(r.binding)], at.path...)
}

// opened is what a page link at a path holds.
type opened struct {
	path  string
	pairs []search.Pair
	mark  mark
}

// openPage returns the query to do: the one that _page holds, or the request's.
// A link is opened once for each path.
func (s *core) openPage(r *request, at lookup) ([]search.Pair, mark, error) {
	sealed := r.get(pageParam)
	if sealed == "" {
		return r.query, mark{}, nil
	}

	if r.opened != nil && r.opened.path == at.path {
		return r.opened.pairs, r.opened.mark, nil
	}

	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if n := s.pageKey.NonceSize(); err != nil || len(raw) < n {
		return nil, mark{}, badPage()
	}

	plain, err := s.pageKey.Open(nil, raw[:s.pageKey.NonceSize()], raw[s.pageKey.NonceSize():],
		r.pageBinding(at))
	if err != nil || len(plain) < 2 {
		return nil, mark{}, badPage()
	}

	n, k := binary.Uvarint(plain[1:])
	if k <= 0 || n > uint64(len(plain)-1-k) {
		return nil, mark{}, badPage()
	}

	rest := plain[1+k:]
	pairs, err := parseQuery(string(rest[n:]))
	if err != nil {
		return nil, mark{}, err
	}

	r.opened = &opened{at.path, pairs, mark{plain[0], rest[:n]}}
	return pairs, r.opened.mark, nil
}

func encodePairs(pairs []search.Pair) string {
	var b strings.Builder
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value))
	}
	return b.String()
}

// after gives the position after which the marked page begins, nil for the beginning;
// false when the page is not one that follows another, or the first.
func (m mark) after() (position []byte, ok bool) {
	switch m.whence {
	case 0:
		return nil, true
	case 'a':
		return m.position, true
	}
	return nil, false
}

// number gives the number of the resource after which the marked page begins, where the
// order is that of the numbers.
func (m mark) number() (doc uint64, ok bool) {
	position, ok := m.after()
	switch {
	case !ok || len(position) > 8:
		return 0, false
	case len(position) == 8:
		return binary.BigEndian.Uint64(position), true
	}
	return 0, position == nil
}

// cut gives the range of the result that the marked page has.
func (m mark) cut(found *search.Result, count int) (from, to int, err error) {
	n := len(found.Docs)
	switch m.whence {
	case 'a':
		from, err = found.Seek(m.position, true)
	case 'b':
		to, err = found.Seek(m.position, false)
		from = max(0, to-count)
		return from, min(n, from+count), err
	case 'l':
		from = max(0, (n-1)/max(count, 1)*count)
	}

	return min(from, n), min(n, from+count), err
}
