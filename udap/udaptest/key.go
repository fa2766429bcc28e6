package udaptest

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"sync"
	"testing"

	"fhirdest.example/certs"
)

// keys are shared by all tests of one run: making RSA keys costs more than
// everything that is done with them.
var keys = struct {
	sync.Mutex
	made map[string]crypto.Signer
}{made: map[string]crypto.Signer{}}

// Key returns the n-th key of a kind; the same n gives the same key again.
func Key(t testing.TB, kind certs.KeyKind, n int) crypto.Signer {
	t.Helper()
	keys.Lock()
	defer keys.Unlock()

	name := fmt.Sprintf("%s/%d", kind, n)
	if k, ok := keys.made[name]; ok {
		return k
	}

	k, err := certs.NewKey(kind)
	must(t, err)
	keys.made[name] = k
	return k
}

// KeyPEM returns the n-th key of a kind as an unencrypted PKCS#8 file.
func KeyPEM(t testing.TB, kind certs.KeyKind, n int) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(Key(t, kind, n))
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{
		Type:  "PRIVATE KEY",
		Bytes: der,
	})
}
