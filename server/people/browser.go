package people

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
)

// secretSize is the size of what a cookie holds, in bytes.
const secretSize = 32

// secret is the content of a cookie; nil: the browser sent none that is ours.
type secret []byte

func newSecret() secret {
	s := make(secret, secretSize)
	_, _ = rand.Read(s) // never fails (Go 1.24)
	return s
}

func (s secret) String() string { return base64.RawURLEncoding.EncodeToString(s) }

// cookie returns the content of a cookie that this server set.
func cookie(r *http.Request, name string) secret {
	all := r.CookiesNamed(name)
	if len(all) != 1 {
		return nil // two of one name: somebody else set one of them
	}

	s, err := base64.RawURLEncoding.Strict().DecodeString(all[0].Value)
	if err != nil || len(s) != secretSize {
		return nil
	}
	return s
}

// setCookie sets a cookie that only this host gets, that no script reads and that
// no other site's form sends. A nil secret removes it.
func setCookie(w http.ResponseWriter, name string, s secret) {
	c := &http.Cookie{
		Name:     name,
		Value:    s.String(),
		Path:     "/",
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}

	if s == nil {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// visit is the secret of a browser, signed in or not. It binds forms to the
// browser in which their page was shown. It lives as long as the browser does,
// or until the person signs out.
func (s *sessions) visit(w http.ResponseWriter, r *http.Request) secret {
	if v := cookie(r, s.visitCookie); v != nil {
		return v
	}

	v := newSecret()
	setCookie(w, s.visitCookie, v)
	return v
}

// token binds a form to a browser and to what its page was about. Whoever does not
// know the browser's cookie cannot make one.
func (v secret) token(about ...string) string {
	mac := hmac.New(sha256.New, v)
	for _, part := range about { // with their lengths: no two lists are the same bytes
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		mac.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// bound reports whether a token is the browser's own, about the same.
func (v secret) bound(token string, about ...string) bool {
	return v != nil && subtle.ConstantTimeCompare([]byte(token), []byte(v.token(about...))) == 1
}
