package tree

// Flat is a body as a list of its values, in the order in which they begin. It
// can be used again for the next body, and has no pointers that the garbage
// collector would follow: it is for a caller that reads many bodies, each once.
// The zero value is ready for Parse; one that was parsed may be read by many at once.
type Flat struct {
	cursor
	nodes []node
	limit int
}

// node is a value. What it holds comes after it, up to next.
type node struct {
	name, nameTo int32 // where the member's name is, with its quotes; 0 for none
	from, to     int32
	next         int32
}

// Parse reads one JSON object as ParseWithin does; it is the value 0. What was there
// before is gone.
func (f *Flat) Parse(body []byte, limits Limits) (err error) {
	f.nodes, f.limit = f.nodes[:0], limits.Values
	if f.cursor, err = begin(body, limits); err != nil {
		return err
	}
	return f.value(node{}, 0)
}

// Forget drops the body, and what makes the list larger than most need.
func (f *Flat) Forget() {
	const most = 1 << 14
	f.cursor = cursor{}
	if cap(f.nodes) > most {
		f.nodes = nil
	}
}

// value appends the value that begins at f.at, and all that it holds.
func (f *Flat) value(n node, depth int) error {
	i := len(f.nodes)
	if i >= f.limit {
		return f.tooMany(f.limit)
	}

	n.from = int32(f.at)
	f.nodes = append(f.nodes, n)
	switch kind := Kind(f.src[f.at]); kind {
	case Object, Array:
		if depth++; depth > MaxDepth {
			return f.tooDeep()
		}
		if err := f.children(kind, depth); err != nil {
			return err
		}

	case String:
		f.skipString()
	default:
		f.skipLiteral()
	}

	f.nodes[i].to, f.nodes[i].next = int32(f.at), int32(len(f.nodes))
	return nil
}

// children appends what a container holds, and steps past its end.
func (f *Flat) children(kind Kind, depth int) error {
	f.at++
	for {
		f.skipSpace()
		switch f.src[f.at] {
		case '}', ']':
			f.at++
			return nil
		case ',':
			f.at++
			f.skipSpace()
		}

		var n node
		if kind == Object {
			from, to := f.name()
			n.name, n.nameTo = int32(from), int32(to)
		}
		if err := f.value(n, depth); err != nil {
			return err
		}
	}
}

// Next returns the value after i and all that i holds.
func (f *Flat) Next(i int) int { return int(f.nodes[i].next) }

// Items returns the range of an array's items: from the first, by Next, to before
// end. Another value is the only item, as with Value.Each; -1 has none.
func (f *Flat) Items(i int) (first, end int) {
	if i < 0 {
		return 0, 0
	}
	if f.Kind(i) == Array {
		return i + 1, f.Next(i)
	}
	return i, f.Next(i)
}

// Members returns the range of an object's members, as Items does; that of -1 and of
// another value is empty.
func (f *Flat) Members(i int) (first, end int) {
	if i < 0 || f.Kind(i) != Object {
		return 0, 0
	}
	return i + 1, f.Next(i)
}

// Get returns the member of that name, or -1. It is safe for -1 and for values that
// are no objects.
func (f *Flat) Get(i int, name string) int {
	for m, end := f.Members(i); m < end; m = f.Next(m) {
		if f.Name(m) == name {
			return m
		}
	}
	return -1
}

// Kind is what a value is.
func (f *Flat) Kind(i int) Kind {
	switch k := Kind(f.src[f.nodes[i].from]); k {
	case Object, Array, String, True, False, Null:
		return k
	}
	return Number
}

// Name is the name of a member, unescaped; "" for other values.
func (f *Flat) Name(i int) string {
	n := &f.nodes[i]
	if n.nameTo == 0 {
		return ""
	}
	return unquote(f.src[n.name:n.nameTo])
}

// Raw is a value's bytes as sent.
func (f *Flat) Raw(i int) string { return f.src[f.nodes[i].from:f.nodes[i].to] }

// Text is the text of a string, unescaped; "" for -1 and every other kind.
func (f *Flat) Text(i int) string {
	if i < 0 || f.Kind(i) != String {
		return ""
	}
	return unquote(f.Raw(i))
}
