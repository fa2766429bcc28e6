package people

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"time"

	"fhirdest.example/server/people/users"
)

// nonceSize is the random half of what a device cookie holds, in bytes.
const nonceSize = secretSize / 2

// deviceLife is how long a browser is remembered in which a person signed in.
const deviceLife = 90 * 24 * time.Hour

// rememberDevice gives a browser the proof that a person has signed in in it. The
// proof is worth a rate of attempts of its own, and nothing else. Whoever does not
// know the hash of the person's password cannot make one, so the server keeps
// nothing; a new password ends it.
func (s *gate) rememberDevice(w http.ResponseWriter, user *users.User) {
	d := newSecret()
	copy(d[nonceSize:], deviceProof(d, user))
	http.SetCookie(w, &http.Cookie{
		Name:     s.deviceCookie,
		Value:    d.String(),
		Path:     "/",
		MaxAge:   int(deviceLife / time.Second),
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// knows reports whether a browser has the proof for a person.
func (s *gate) knows(d secret, user *users.User) bool {
	return user.Password != "" && hmac.Equal(d[nonceSize:], deviceProof(d, user))
}

func deviceProof(d secret, user *users.User) []byte {
	mac := hmac.New(sha256.New, []byte(user.Password))
	mac.Write(bytes.Join([][]byte{[]byte("device"), d[:nonceSize], []byte(user.Subject)}, []byte{0}))
	return mac.Sum(nil)[:secretSize-nonceSize]
}
