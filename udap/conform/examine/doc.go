// Package examine examines a destination from outside: every requirement of UDAP
// Security that binds a server and can be seen on the wire is a check that runs
// against it, wrong documents included. It registers a client of its own, and
// cancels every registration that it made before it ends.
package examine
