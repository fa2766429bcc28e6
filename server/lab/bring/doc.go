// Package bring makes the page for those who bring a client to a session of the lab:
// its addresses, what to download, how to get a certificate, and programs in five
// languages that get a token and a resource. A test runs each of them as it is on the
// page.
package bring
