package bolt

import (
	"fhirdest.example/server/oauth"
)

// proofUse is the jti of a DPoP proof that is used up with that of a JWT; without a
// spend there is none.
type proofUse struct {
	spend *oauth.Spend
	key   spentKey
	err   error // why it could not be reserved
}

// reserveProof reserves the jti of a proof, if there is one.
func (x *spentIndex) reserveProof(s *oauth.Spend) proofUse {
	if s == nil {
		return proofUse{}
	}

	u := proofUse{
		spend: s,
		key:   spentKeyOf(*s),
	}
	u.err = x.reserve(u.key, *s)
	return u
}

// check returns why the proof cannot be used up now.
func (u proofUse) check() error {
	if u.err == nil && u.spend != nil && u.spend.Expired() {
		return oauth.ErrExpired
	}
	return u.err
}

// put writes the reserved jti of a proof.
func (u proofUse) put(t *Trust, b *trustBatch) error {
	if u.spend == nil || u.err != nil {
		return nil
	}
	return t.putSpent(b, u.key, *u.spend)
}

// releaseProof undoes a reservation.
func (x *spentIndex) releaseProof(u proofUse) {
	if u.spend != nil && u.err == nil {
		x.release(u.key, *u.spend)
	}
}
