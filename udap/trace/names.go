package trace

// CommunityURI identifies a trust community (UDAP Security 2.0, discovery 2.4).
type CommunityURI string

// ClientURI is the URI of a client application: a uniformResourceIdentifier of
// its certificate's Subject Alternative Name, byte for byte.
type ClientURI string

// ClientID is the identifier that an authorization server gave to a client.
type ClientID string
