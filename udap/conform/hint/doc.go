// Package hint recognises what a client typed when a request reached nothing, or could
// not be read: a slash too many, JSON where a form belongs, a line break in a JWT. It
// reads one exchange and the URLs that it should have been for, and knows no clock and
// no network, so that the same exchange always has the same hints.
package hint
