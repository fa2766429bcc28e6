package oauth_test

import (
	"context"
	"net/http"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// nobody is an Interaction that asks nobody: it answers with what it was given.
type nobody struct{}

func (nobody) Authorize(w http.ResponseWriter, _ *http.Request, _ *oauth.AuthorizationRequest) {
	w.WriteHeader(http.StatusOK)
}

func (nobody) Refuse(w http.ResponseWriter, _ *http.Request, refusal *oauth.Refusal, _ *trace.Trace) {
	w.WriteHeader(refusal.Status)
}

func (nobody) Enabled(context.Context, string) (bool, error) { return true, nil }
