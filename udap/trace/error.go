package trace

// Code is an error code that goes out on the wire (RFC 6749 5.2, RFC 7591
// 3.2.2, and the UDAP profiles).
type Code string

// The codes that this project writes.
const (
	InvalidSoftwareStatement    Code = "invalid_software_statement"
	UnapprovedSoftwareStatement Code = "unapproved_software_statement"
	InvalidClientMetadata       Code = "invalid_client_metadata"
	InvalidRedirectURI          Code = "invalid_redirect_uri"
	InvalidCertification        Code = "invalid_certification"
	UnapprovedCertification     Code = "unapproved_certification"
	InvalidClient               Code = "invalid_client"
	InvalidRequest              Code = "invalid_request"
	InvalidGrant                Code = "invalid_grant"
	InvalidScope                Code = "invalid_scope"
	UnauthorizedClient          Code = "unauthorized_client"
	UnsupportedGrantType        Code = "unsupported_grant_type"
	InvalidToken                Code = "invalid_token"
	InsufficientScope           Code = "insufficient_scope"
	InvalidIDP                  Code = "invalid_idp"
	UnsupportedResponseType     Code = "unsupported_response_type"
	RequestNotSupported         Code = "request_not_supported"
	RequestURINotSupported      Code = "request_uri_not_supported"
	LoginRequired               Code = "login_required"
	ConsentRequired             Code = "consent_required"
	InteractionRequired         Code = "interaction_required"
	InvalidDPoPProof            Code = "invalid_dpop_proof"
	UseDPoPNonce                Code = "use_dpop_nonce"
	AccessDenied                Code = "access_denied"
	ServerError                 Code = "server_error"
	TemporarilyUnavailable      Code = "temporarily_unavailable"
)

// Error is a refusal as a Go value. Code and Detail may go to the caller; Err
// is the hidden cause and goes to the log only.
type Error struct {
	Code   Code
	Detail string // what was expected, what was found, and the remedy, as one line
	Check  string // name of the check that refused
	Err    error  // hidden cause; may be nil

	final bool // no trace goes on after it
}

func (e *Error) Error() string {
	return string(e.Code) + ": " + e.Check + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.Err }
