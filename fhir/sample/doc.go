// Package sample makes the synthetic population that a sandbox serves: the
// same bytes for the same number of patients, on every machine and day. No
// clock, no map order and no outside data take part in it.
//
// Nobody in it is real: every resource carries the label HTEST, social
// security numbers begin with 666 (never issued), telephone numbers are
// 555-01xx and all addresses of the net are under example.org.
package sample
