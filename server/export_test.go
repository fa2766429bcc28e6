package server

import "fhirdest.example/server/oauth"

// TrustOf returns a server's store of clients and tokens.
func TrustOf(s *Server) oauth.Store { return s.site.stores.Trust }
