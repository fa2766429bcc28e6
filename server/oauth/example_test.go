package oauth_test

import (
	"fmt"

	"fhirdest.example/server/oauth"
)

// The endpoints are below the issuer.
func ExampleURLsOf() {
	urls := oauth.URLsOf("https://fhir.example/acme/oauth")
	fmt.Println(urls.Register)
	fmt.Println(urls.Token)
	// Output:
	// https://fhir.example/acme/oauth/register
	// https://fhir.example/acme/oauth/token
}
