package gateway_test

import "fhirdest.example/gateway"

// delegateNext makes the route lead to another gateway.
func delegateNext(c *gateway.Config) { c.Routes[0].Next = "https://delegate.localhost" }
