package idtoken

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/jose"
)

// Algorithm signs ID tokens: the one that every client has (OpenID Connect Core
// 15.1).
const Algorithm = "RS256"

// Life is how long an ID token can be accepted. It shows that somebody signed in, to
// a client that waits for it.
const Life = 10 * time.Minute

// Claims are the claims of an ID token (OpenID Connect Core 2, SMART App Launch 2.2).
type Claims struct {
	Issuer     string `json:"iss"`
	Subject    string `json:"sub"`
	Audience   string `json:"aud"` // the client_id
	Expires    int64  `json:"exp"`
	Issued     int64  `json:"iat"`
	SignedIn   int64  `json:"auth_time"`
	Nonce      string `json:"nonce,omitzero"`
	AccessHash string `json:"at_hash"`

	FHIRUser string `json:"fhirUser,omitzero"` // absolute URL
	Name     string `json:"name,omitzero"`
}

// Sign completes claims for an access token that is issued with the ID token, and
// signs them.
func (k Keys) Sign(c Claims, accessToken string, now time.Time) (string, error) {
	if len(k) == 0 {
		return "", errors.New("idtoken: no key")
	}

	c.Issued, c.Expires = now.Unix(), now.Add(Life).Unix()
	sum := sha256.Sum256([]byte(accessToken))
	c.AccessHash = base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}

	key := k[k.signing(now)]
	return jose.Sign(key.Private, jose.Header{
		Type:  "JWT",
		KeyID: key.ID,
	}, Algorithm, body)
}
