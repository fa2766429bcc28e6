// Package proc has what programs do about their process: they end with the "go
// run" that started them, and read their files again at SIGHUP.
//
// "go run" passes no signal on. A test harness that ends it would leave the
// program behind, with its ports and files.
package proc
