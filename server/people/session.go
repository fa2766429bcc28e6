package people

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people/users"
	"fhirdest.example/udap/trace"
)

// touchEvery is how often the time of a session's last request is stored.
const touchEvery = time.Minute

// signedIn is a person in a browser.
type signedIn struct {
	Session
	user *users.User
}

// person is the person as a grant names them.
func (p *signedIn) person() oauth.Person {
	return oauth.Person{
		Subject:    p.Subject,
		FHIRUser:   p.user.FHIRUser,
		Name:       p.user.DisplayName(),
		SignedIn:   p.Authenticated(),
		IdP:        p.IdP,
		IdPSubject: p.IdPSubject,
	}
}

func sessionID(c secret) SessionID { return sha256.Sum256(c) }

// current returns who is signed in, or nil. A session ends after Life, with the
// person's entry in the users file, and when the password in it becomes another one.
// One that is idle stays, for the access that ends with it, but nobody is signed in
// by it. The trace then has who it is.
func (s *sessions) current(r *http.Request, tr *trace.Trace) (*signedIn, error) {
	now := tr.Time
	c := cookie(r, s.sessionCookie)
	if c == nil {
		return nil, nil
	}

	id := sessionID(c)
	session, err := s.cfg.Store.Session(r.Context(), id)
	if session == nil || err != nil {
		return nil, err
	}

	user := s.cfg.Users().Subject(session.Subject)
	if user == nil || !session.lives(user, now) {
		return nil, s.end(r.Context(), session)
	}
	if session.Idle(now) {
		return nil, nil
	}

	if now.Sub(session.LastRequest) >= touchEvery {
		if err := s.cfg.Store.UseSession(r.Context(), id, now); err != nil {
			return nil, err
		}
		session.LastRequest = now
	}

	tr.Person = user.Subject
	return &signedIn{*session, user}, nil
}

// isOver reports whether the session of a person with which a grant ends is over;
// the grant names it as SessionID.String does, or names none.
func (s *sessions) isOver(ctx context.Context, named string, user *users.User) (bool, error) {
	if named == "" {
		return false, nil
	}

	var id SessionID
	raw, err := hex.DecodeString(named)
	if err != nil || len(raw) != len(id) {
		return true, nil
	}

	copy(id[:], raw)
	session, err := s.cfg.Store.Session(ctx, id)
	if err != nil {
		return false, err
	}
	return session == nil || !session.lives(user, s.cfg.Now()), nil
}

// lives reports whether a session is that of a user whose password is the same as
// when it began, and not over.
func (s *Session) lives(user *users.User, now time.Time) bool {
	changed := s.Password != "" && s.Password != passwordDigest(user)
	return s.Subject == user.Subject && !changed && !s.Over(now)
}

// passwordDigest is what a session keeps of the hash of a user's password, to
// recognise that the password is another one. The hash has a random salt, so nothing
// can be learned of the password from it.
func passwordDigest(u *users.User) string {
	sum := sha256.Sum256([]byte(u.Password))
	return hex.EncodeToString(sum[:])
}

// end ends a session and what was granted for its duration only.
func (s *sessions) end(ctx context.Context, session *Session) error {
	if err := s.cfg.Records.EndSession(ctx, session.Subject, session.ID.String()); err != nil {
		return err
	}
	return s.cfg.Store.EndSession(ctx, session.ID)
}

// endOf is end for a session that may be over already.
func (s *sessions) endOf(ctx context.Context, id SessionID) error {
	session, err := s.cfg.Store.Session(ctx, id)
	if err != nil || session == nil {
		return err
	}
	return s.end(ctx, session)
}

// start stores a new session for a user, in the place of the browser's former one,
// and gives the browser its cookie. p is where and when they signed in, if that was
// elsewhere.
func (s *sessions) start(
	w http.ResponseWriter, r *http.Request, user *users.User, p oauth.Person, tr *trace.Trace,
) (*signedIn, error) {
	c, former := newSecret(), SessionID{}
	if old := cookie(r, s.sessionCookie); old != nil {
		former = sessionID(old)
		if err := s.endOf(r.Context(), former); err != nil {
			return nil, s.trouble(tr, err)
		}
	}

	now := s.cfg.Now()
	session := Session{
		ID:          sessionID(c),
		Subject:     user.Subject,
		IdP:         p.IdP,
		IdPSubject:  p.IdPSubject,
		SignedIn:    now,
		LastRequest: now,
		Password:    passwordDigest(user),
	}
	if p.SignedIn.Before(now) { // at another provider; its clock may be ahead
		session.AuthTime = p.SignedIn
	}

	if err := s.cfg.Store.StartSession(r.Context(), session, former); err != nil {
		return nil, s.trouble(tr, err)
	}

	setCookie(w, s.sessionCookie, c)
	tr.Effect = trace.SignedIn
	tr.Person = user.Subject
	tr.Pass(
		checkSignedIn,
		"a session of at most "+Life.String(),
		user.Subject,
	)
	return &signedIn{session, user}, nil
}

// trouble is a refusal for which nobody at the browser is to blame.
func (s *shell) trouble(tr *trace.Trace, err error) error {
	return tr.Refuse(checkStore, trace.TemporarilyUnavailable, trace.Finding{
		Found:  "the server could not store or read its records",
		Remedy: "try again in a moment",
		Err:    err,
	})
}

// SignedIn signs a person in who has proved elsewhere who they are, and goes on
// with the authorization request whose parameters query has. p.Subject is that of
// a person of the users file, p.IdP and p.IdPSubject where they signed in, and
// p.SignedIn when.
func (s *Service) SignedIn(
	w http.ResponseWriter, r *http.Request, p oauth.Person, query string, tr *trace.Trace,
) error {
	user := s.cfg.Users().Subject(p.Subject)
	if user == nil {
		return tr.Refuse(checkSignedIn, trace.AccessDenied, trace.Finding{
			Expected: "a person of the users file",
			Found:    "none with the subject " + p.Subject,
		})
	}

	who, err := s.start(
		w,
		r,
		user,
		p,
		tr,
	)
	if err != nil {
		return err
	}

	s.goOn(w, who, query)
	return nil
}
