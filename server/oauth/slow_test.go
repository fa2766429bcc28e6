package oauth_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// signedRequest is a request to one endpoint whose body holds a JWT that is
// good for six minutes: five to its exp and one of clock skew.
type signedRequest struct {
	name, path, contentType string
	code                    string // of the refusal once the JWT has expired
	body                    func(e *env, c *udaptest.Client, id trace.ClientID) string
}

func signedRequests() []signedRequest {
	form := func(endpoint string) func(*env, *udaptest.Client, trace.ClientID) string {
		return func(e *env, c *udaptest.Client, id trace.ClientID) string {
			f := e.form(c.Sign(e.t, udaptest.Assertion(id, e.now()).With("aud", issuer+"/"+endpoint)))
			f.Set("token", "x")
			return f.Encode()
		}
	}

	statement := func(edit ...func(udaptest.Claims) udaptest.Claims) func(*env, *udaptest.Client, trace.ClientID) string {
		return func(e *env, c *udaptest.Client, _ trace.ClientID) string {
			claims := c.Statement(e.now())
			for _, f := range edit {
				claims = f(claims)
			}
			return e.registerBody(c.Sign(e.t, claims), nil)
		}
	}

	return []signedRequest{
		{"register", "/oauth/register", "application/json", "invalid_software_statement", statement()},
		{"cancel", "/oauth/register", "application/json", "invalid_software_statement",
			statement(with("grant_types", []string{}))},
		{"token", "/oauth/token", formType, "invalid_client", form("token")},
		{"introspect", "/oauth/introspect", formType, "invalid_client", form("introspect")},
		{"revoke", "/oauth/revoke", formType, "invalid_client", form("revoke")},
	}
}

// A body is validated at the time at which it has been read to its end, not at
// the time of the request's head.
//
// Covers: S1-180, case 144, case 145
func TestSlowBodyExpires(t *testing.T) {
	for _, req := range signedRequests() {
		t.Run(req.name, func(t *testing.T) {
			began := make(chan struct{}, 1)
			e, c, id := clientEnv(t, func(cfg *oauth.Config) {
				cfg.Limits.RequestsPerAddress = 1000 // which is what asks for the address, with the head
				cfg.Address = func(*http.Request) string { began <- struct{}{}; return "a" }
			})
			<-began // of the registration
			body := req.body(e, c, id)

			e.refused(req.name, 400, req.code, spendsNothing, func() answer {
				conn := e.dial()
				fmt.Fprintf(conn,
					"POST %s HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
					req.path, req.contentType, len(body), body[:len(body)-1])
				<-began
				e.advance(6*time.Minute + 46*time.Second)
				fmt.Fprint(conn, body[len(body)-1:])

				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()

				text, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				return answer{res.StatusCode, res.Header, text, res.Close}
			})

			if last := e.lastTrace().Steps; last[len(last)-1].Check == "request.current" {
				t.Error("validated at the time of the head, and refused at the commit only")
			}
		})
	}
}

// A JWT that expires while its request waits to be stored has no effect.
//
// Covers: S1-180, case 144
func TestExpiresBeforeCommit(t *testing.T) {
	for _, req := range signedRequests() {
		t.Run(req.name, func(t *testing.T) {
			e, c, id, f := faultyEnv(t)
			body := req.body(e, c, id)
			f.before = func() error {
				e.advance(6*time.Minute + time.Second)
				return nil
			}

			e.refused(req.name, 400, req.code, spendsNothing, func() answer {
				return e.send("POST", req.path, req.contentType, body, nil)
			})
			if last := e.lastTrace().Steps; last[len(last)-1].Check != "request.current" {
				t.Errorf("refused by %s", last[len(last)-1].Check)
			}
		})
	}
}
