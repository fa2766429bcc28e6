package postgres

// Pool is how the connections of a store are used at one moment.
type Pool struct {
	Schema string
	Open   int // connections, idle ones included
	Used   int // connections that a request has
	Most   int // bound of Open
	// Waited counts requests that had to wait for a connection.
	Waited int64
}

func (d *database) pooled() Pool {
	s := d.pool.Stat()
	return Pool{
		Schema: d.schema,
		Open:   int(s.TotalConns()),
		Used:   int(s.AcquiredConns()),
		Most:   int(s.MaxConns()),
		Waited: s.EmptyAcquireCount(),
	}
}

// PoolOf returns how the connections of a store of this package are used.
func PoolOf(store any) Pool {
	switch s := store.(type) {
	case *Trust:
		return s.db.pooled()
	case *FHIR:
		return s.db.pooled()
	case *Jobs:
		return s.pooled()
	}
	return Pool{}
}
