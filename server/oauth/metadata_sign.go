package oauth

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// Member is this server as a member of one trust community.
type Member struct {
	Community  *udap.Community
	Identities []Identity // the first with an RSA key that clients can trust signs the metadata
}

// Identity is a certificate chain of this server, leaf first, and its key.
type Identity struct {
	Chain []*x509.Certificate
	Key   crypto.Signer
}

// How long signed metadata lives and is served.
const (
	signedLife  = 24 * time.Hour   // at most a year is allowed (UDAP Security 2.0, 2.3)
	signAgain   = 10 * time.Minute // also how soon a stale list or an expired certificate is noticed
	signRetry   = 5 * time.Second  // when what was signed would not be believed
	signGrace   = time.Minute      // how much older it may be for others while one request signs it again
	metadataAge = 5 * time.Minute  // Cache-Control: max-age
)

// statement is the metadata for one community, signed, or the reason why it is
// withheld.
type statement struct {
	body   []byte
	etag   string
	err    error
	signed time.Time
}

// publisher signs the metadata of one community, at most once per period, and
// publishes only what its own verifier believes.
type publisher struct {
	service  *Service
	verifier *udap.Verifier
	member   Member

	signing sync.Mutex // held while signing, so that waiting requests share one signature
	current atomic.Pointer[statement]
}

// get returns the community's metadata as it is now. One request at a time signs
// it again, and may have to wait for a revocation list: others then get what there
// was, if that is not old.
func (p *publisher) get(ctx context.Context) statement {
	now := p.service.cfg.Now()
	if st := p.current.Load(); st.fresh(now, 0) {
		return *st
	}

	if !p.signing.TryLock() {
		if st := p.current.Load(); st.fresh(now, signGrace) {
			return *st
		}
		p.signing.Lock()
	}
	defer p.signing.Unlock()

	if st := p.current.Load(); st.fresh(now, 0) {
		return *st
	}

	st := p.sign(context.WithoutCancel(ctx), now)
	p.current.Store(&st)
	return st
}

// fresh reports whether a statement, nil included, need not be signed again until it
// is older by grace.
func (s *statement) fresh(now time.Time, grace time.Duration) bool {
	if s == nil {
		return false
	}
	age, period := now.Sub(s.signed), signAgain
	if s.err != nil {
		period = signRetry
	}
	return age >= 0 && age < period+grace
}

// sign tries the RSA identities in their order. Clients must refuse metadata
// that is not signed with RS256, whose certificate has expired, does not name
// the base URL or may be revoked: such metadata is never published.
func (p *publisher) sign(ctx context.Context, now time.Time) statement {
	out := statement{
		signed: now,
		err:    errors.New("no certificate with an RSA key, which signed_metadata needs (RS256)"),
	}

	for _, id := range p.member.Identities {
		if _, isRSA := id.Key.Public().(*rsa.PublicKey); !isRSA {
			continue
		}
		if out.body, out.err = p.document(ctx, id, now); out.err == nil {
			sum := sha256.Sum256(out.body)
			out.etag = `"` + hex.EncodeToString(sum[:12]) + `"`
			return out
		}
	}

	return out
}

func (p *publisher) document(ctx context.Context, id Identity, now time.Time) ([]byte, error) {
	s := p.service
	d := discovery{s}.udapDocument(p.member.Community.Policy)
	var jti [16]byte
	_, _ = rand.Read(jti[:]) // never fails (Go 1.24)
	claims, err := json.Marshal(signedClaims{
		Issuer:                s.cfg.Base,
		Subject:               s.cfg.Base,
		Issued:                now.Unix(),
		Expires:               now.Add(signedLife).Unix(),
		JTI:                   hex.EncodeToString(jti[:]),
		AuthorizationEndpoint: d.AuthorizationEndpoint,
		TokenEndpoint:         d.TokenEndpoint,
		RegistrationEndpoint:  d.RegistrationEndpoint,
	})
	if err != nil {
		return nil, err
	}
	if d.SignedMetadata, err = udap.Sign(id.Key, id.Chain, "RS256", claims); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}

	body, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}

	tr := trace.NewTrace("metadata", now)
	_, err = p.verifier.Metadata(ctx, body, udap.ExpectMetadata{
		Now:       now,
		Base:      s.cfg.Base,
		Community: p.member.Community.URI,
	}, tr)
	return body, err
}

// Withheld is a community whose metadata is not published, and why.
type Withheld struct {
	Community trace.CommunityURI
	Reason    string
	Check     string // the check of our own verifier that refused it; empty: it could not be signed
}

// Withheld lists the communities for which this server has no metadata that
// clients could believe.
func (s *Service) Withheld(ctx context.Context) []Withheld {
	var out []Withheld
	for _, p := range s.trust.Load().publishers {
		if st := p.get(ctx); st.err != nil {
			out = append(out, withheld(p.member.Community.URI, st.err))
		}
	}

	return out
}

func withheld(c trace.CommunityURI, err error) Withheld {
	w := Withheld{
		Community: c,
		Reason:    err.Error(),
	}
	var refused *trace.Error
	if errors.As(err, &refused) {
		w.Reason, w.Check = refused.Check+": "+refused.Detail, refused.Check
	}

	return w
}
