package assess

// maxKept is how many values of a kind an Assessor remembers, such as codes.
const maxKept = 20_000

// maxPages is how many next links are remembered.
const maxPages = 2000

// maxURL bounds a URL that is remembered, in bytes.
const maxURL = 2048

// memory is a map that forgets its oldest entries.
type memory[V any] struct {
	byKey map[string]V
	order []string
	next  int // place in order of the oldest, once it is full
	limit int
}

func newMemory[V any](limit int) *memory[V] {
	return &memory[V]{
		byKey: map[string]V{},
		limit: limit,
	}
}

// get returns the value of a key, and whether it is remembered.
func (m *memory[V]) get(key string) (V, bool) {
	v, ok := m.byKey[key]
	return v, ok
}

// set remembers a value.
func (m *memory[V]) set(key string, v V) {
	if _, ok := m.byKey[key]; ok {
		m.byKey[key] = v
		return
	}

	if len(m.order) < m.limit {
		m.order = append(m.order, key)
	} else {
		delete(m.byKey, m.order[m.next])
		m.order[m.next] = key
		m.next = (m.next + 1) % m.limit
	}
	m.byKey[key] = v
}
