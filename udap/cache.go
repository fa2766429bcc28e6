package udap

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"weak"
)

// Bounds of what a verifier remembers.
const (
	maxCachedCerts = 4096
	maxCachedSigs  = 4096
	maxCachedPaths = 4096
	maxCachedLists = 128
)

// bounded is a map that forgets everything when full: simple, and an attacker
// who fills it gains only the cost of filling it.
type bounded[K comparable, V any] struct {
	mu sync.RWMutex
	m  map[K]V
}

func (b *bounded[K, V]) get(k K) (V, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	v, ok := b.m[k]
	return v, ok
}

func (b *bounded[K, V]) put(k K, v V, max int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil || len(b.m) >= max {
		b.m = make(map[K]V)
	}
	b.m[k] = v
}

// digest identifies bytes.
type digest [sha256.Size]byte

// listKey is one list judged against one issuer.
type listKey struct {
	list   weak.Pointer[x509.RevocationList] // a replaced list is not kept alive
	issuer digest
}

// memory is what a verifier may safely remember: nothing in it depends on the
// time, and nothing says that a message was believed.
type memory struct {
	certs bounded[digest, *x509.Certificate]
	lists bounded[listKey, *judgedList]
}

func (v *Verifier) judgedList(list *x509.RevocationList, issuer *x509.Certificate) *judgedList {
	k := listKey{weak.Make(list), sha256.Sum256(issuer.Raw)}
	if j, ok := v.memory.lists.get(k); ok {
		return j
	}
	j := judgeList(list, issuer)
	v.memory.lists.put(k, j, maxCachedLists)
	return j
}
