package oauth

import (
	"context"
	"encoding/hex"
)

// Ref is where the record of an access token is found again. It is no secret: the
// token cannot be made of it.
type Ref string

// refOf returns the Ref of a token of this server.
func refOf(text string) Ref {
	handle, hash, _ := parseToken(text)
	return Ref(hex.EncodeToString(append(handle[:], hash[:]...)))
}

// Stands reports whether an access token that was presented before is still valid:
// that it has not expired, and neither the token, nor the registration, nor what a
// person granted was taken back since.
func Stands(ctx context.Context, s *Service, ref Ref) (bool, error) {
	raw, err := hex.DecodeString(string(ref))
	if err != nil || len(raw) != len(Handle{})+len(Hash{}) {
		return false, nil
	}

	handle, hash := Handle(raw[:len(Handle{})]), Hash(raw[len(Handle{}):])
	_, why, err := s.liveAt(ctx, handle, hash, s.cfg.Now())
	return err == nil && why == "", err
}
