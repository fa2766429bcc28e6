// Package trace records decisions. A decision is an ordered list of named
// checks; its Trace holds each check with its verdict, what was expected, what
// was found and the remedy. The refusal on the wire, the log, the audit record,
// the console and the conformance table all come from it.
package trace
