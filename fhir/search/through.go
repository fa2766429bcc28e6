package search

// Through returns a type through which a query's chains go and which may
// refuses, or "" when every chain has a way: of several types that a reference
// may lead to, one that may be searched is enough.
func (q *Query) Through(may func(typ string) bool) string {
	for i := range q.Clauses {
		if typ := q.Clauses[i].through(may); typ != "" {
			return typ
		}
	}
	return ""
}

func (c *Clause) through(may func(typ string) bool) string {
	if c.has != nil {
		if !may(c.has.param.Type) {
			return c.has.param.Type
		}
		return c.has.then.through(may)
	}

	refused := ""
	for i := range c.chain {
		l := &c.chain[i]
		typ := ""
		if !may(l.typ) {
			typ = l.typ
		} else {
			typ = l.then.through(may)
		}

		if typ == "" {
			return ""
		}
		if refused == "" {
			refused = typ
		}
	}

	return refused
}
