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

// Pool returns how the connections of the store are used.
func (d *database) Pool() Pool {
	s := d.pool.Stat()
	return Pool{
		Schema: d.schema,
		Open:   int(s.TotalConns()),
		Used:   int(s.AcquiredConns()),
		Most:   int(s.MaxConns()),
		Waited: s.EmptyAcquireCount(),
	}
}
