// Package lab has sessions for clients under test. A session is a destination of its
// own below the public site, with its own directory, its own certificates and its own
// registrations; each request that arrives below its URLs is kept with its answer, is
// assessed at once, and is shown to those who watch.
//
// The destination proper knows nothing of it: capture and deliberate faults are
// decorators around handlers and connections, and unknown sessions answer like any
// unknown path. Whatever a client sends is bounded, and credentials in it are masked
// before it is stored or shown.
package lab
