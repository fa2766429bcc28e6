package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap/jose"
)

// Proofs makes DPoP proofs (RFC 9449) with one key. Access tokens that are asked for
// with them are bound to the key: whoever else sees one cannot use it. It remembers
// the last nonce of each server. It is safe for concurrent use.
type Proofs struct {
	key        crypto.Signer
	thumbprint string

	mu     sync.Mutex
	nonces map[string]string // by origin
}

// NewProofs makes Proofs with a new P-256 key.
func NewProofs() (*Proofs, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return ProofsWith(key)
}

// ProofsWith makes Proofs with a key that is there already, such as one that is kept
// beside a refresh token.
func ProofsWith(key crypto.Signer) (*Proofs, error) {
	jwk, err := jose.EncodeKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}

	return &Proofs{
		key:        key,
		thumbprint: jwk.Thumbprint(),
		nonces:     map[string]string{},
	}, nil
}

// Thumbprint returns the key's SHA-256 thumbprint (RFC 7638): the dpop_jkt of an
// authorization request, and the jkt of a token that is bound to it.
func (p *Proofs) Thumbprint() string { return p.thumbprint }

type proofClaims struct {
	ID     string `json:"jti"`
	Method string `json:"htm"`
	URL    string `json:"htu"`
	Issued int64  `json:"iat"`
	Hash   string `json:"ath,omitzero"`
	Nonce  string `json:"nonce,omitzero"`
}

// Proof returns a new proof for one request: the value of its header DPoP.
// accessToken is what the request presents; empty at the token endpoint.
func (p *Proofs) Proof(method, target, accessToken string, now time.Time) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", fmt.Errorf("client: DPoP proof: %w", err)
	}

	u.RawQuery, u.ForceQuery, u.Fragment = "", false, ""
	claims := proofClaims{
		ID:     randomJTI(),
		Method: method,
		URL:    u.String(),
		Issued: now.Unix(),
		Nonce:  p.nonce(target),
	}

	if accessToken != "" {
		sum := sha256.Sum256([]byte(accessToken))
		claims.Hash = base64.RawURLEncoding.EncodeToString(sum[:])
	}

	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}

	return jose.Sign(p.key, jose.Header{
		Type: "dpop+jwt",
		JWK:  true,
	}, "", body)
}

func (p *Proofs) nonce(target string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nonces[netname.Origin(target)]
}

// learn remembers the nonce of an answer. It reports whether the answer asks for
// the request to be made again with it (RFC 9449 8 and 9).
func (p *Proofs) learn(target string, status int, h http.Header) bool {
	nonce := h.Get("DPoP-Nonce")
	if p == nil || nonce == "" {
		return false
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	origin := netname.Origin(target)
	again := p.nonces[origin] != nonce && (status == http.StatusBadRequest || status == http.StatusUnauthorized)
	p.nonces[origin] = nonce

	return again
}

// authorize puts an access token on a request, with a proof unless p is nil: then
// tokens are bound to no key.
func (p *Proofs) authorize(req *http.Request, accessToken string, now time.Time) error {
	if accessToken == "" {
		return nil
	}
	req.Header.Set("Authorization", p.tokenType()+" "+accessToken)
	return p.prove(req, accessToken, now)
}

// prove puts a proof on a request, unless p is nil.
func (p *Proofs) prove(req *http.Request, accessToken string, now time.Time) error {
	if p == nil {
		return nil
	}

	proof, err := p.Proof(req.Method, req.URL.String(), accessToken, now)
	if err == nil {
		req.Header.Set("DPoP", proof)
	}
	return err
}

// tokenType is the token_type that the destination must answer with: a token that
// is not bound to our key, though we asked for that, is refused (RFC 9449 5).
func (p *Proofs) tokenType() string {
	if p == nil {
		return "Bearer"
	}
	return "DPoP"
}
