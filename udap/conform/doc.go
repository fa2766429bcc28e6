// Package conform has the requirements of UDAP Security as rows, and what was found
// about each: whether a client under test showed it or violated it, and whether a
// destination did. It is the common language of the lab, of the checks from outside
// and of their reports.
package conform
