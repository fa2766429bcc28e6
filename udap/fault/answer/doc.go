// Package answer is the catalogue of deliberate faults in what a destination
// answers. Each is a decorator around the destination's handler: it changes the
// answers that its name describes, leaves all others byte for byte, and knows how
// to read from the requests that follow whether the client noticed.
package answer
