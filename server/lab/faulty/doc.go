// Package faulty has listeners whose TLS is wrong in one way each, for clients under
// test: their certificates have expired, are for another name, or lead nowhere. A
// connection that ends without a request is a client that noticed.
package faulty
