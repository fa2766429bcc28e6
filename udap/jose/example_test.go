package jose_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"

	"fhirdest.example/udap/jose"
)

// A JWS is signed, opened and verified with the key of its first certificate.
func Example() {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, _ := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	cert, _ := x509.ParseCertificate(der)

	compact, err := jose.Sign(key, jose.Header{Chain: []*x509.Certificate{cert}}, "", []byte(`{"iss":"me"}`))
	if err != nil {
		fmt.Println(err)
		return
	}

	token, fault := jose.Open(compact, nil)
	if fault != nil {
		fmt.Println(fault)
		return
	}
	if fault := token.CheckHeader(jose.HeaderRules{}); fault != nil {
		fmt.Println(fault)
		return
	}
	if fault := token.CheckAlgorithm(); fault != nil {
		fmt.Println(fault)
		return
	}

	certs, fault := jose.DecodeX5C(token.Header, nil)
	if fault != nil {
		fmt.Println(fault)
		return
	}
	if fault := token.Verify(certs); fault != nil {
		fmt.Println(fault)
		return
	}

	issuer, _ := token.Claims.Text("iss")
	fmt.Println(token.Algorithm, issuer)
	// Output: ES256 me
}

// An object in which a member is present twice is refused, in another case too.
func ExampleParseObject() {
	_, err := jose.ParseObject([]byte(`{"scope":"a","Scope":"b"}`))
	fmt.Println(err)
	// Output: members "scope" and "Scope" differ in case only
}
