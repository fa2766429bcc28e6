package fetch

import (
	"context"
	"errors"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
)

const (
	maxKeySets       = 256 // places whose key sets are kept
	maxKeySetBytes   = 256 << 10
	maxKeySetFetches = 4 // at one time
)

// KeySet implements udap.KeySetSource: the JWK set at a URL, over https or from
// an origin that configuration names. The caller has made sure that a trusted
// client registered the URL and that policy allows it to be followed.
func (s *Source) KeySet(ctx context.Context, place string) ([]byte, error) {
	u, err := target(place)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(u.Scheme, "https") && !s.web.allowed[netname.Origin(u.String())] {
		return nil, errors.New("a key set is fetched over https only")
	}

	set, _, err := s.keySets.get(ctx, place, place, func() ([]byte, time.Time, error) {
		ctx, cancel := context.WithTimeout(context.Background(), min(s.cfg.Timeout, issuerTimeout))
		defer cancel()
		data, err := s.web.get(ctx, place, "application/jwk-set+json, application/json", maxKeySetBytes)
		return data, s.cfg.Now().Add(s.cfg.Refresh), err
	})
	return set, err
}
