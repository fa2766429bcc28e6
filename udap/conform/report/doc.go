// Package report turns what was found about requirements into something to hand
// over: one page, JSON, JUnit XML and a badge. Client sessions of the lab and
// examinations of a destination have the same report.
package report
