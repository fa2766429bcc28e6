package doctor

import "fhirdest.example/udap/trace"

// CodeFound is the code of what is wrong at a place. It goes over no wire.
const CodeFound trace.Code = "found"

// The checks, in the order in which they are made. Where no other source is named they
// are of RFC 9325 (BCP 195), which FHIR's Security and Privacy Module has servers
// follow, or of that module itself.
var (
	checkReach = trace.NewCheck("tls.reach",
		"The place can be reached and speaks TLS", "FS-101 ER-11")
	checkVersions = trace.NewCheck("tls.versions",
		"TLS 1.2 and 1.3 are accepted, and nothing older", "FS-101")
	checkSuites = trace.NewCheck("tls.suites",
		"TLS 1.2 has ephemeral keys on elliptic curves and authenticated encryption only", "FS-101")
	checkCompression = trace.NewCheck("tls.compression",
		"Nothing is compressed by TLS", "FS-101")
	checkRenegotiation = trace.NewCheck("tls.renegotiation",
		"Renegotiation is secure, or there is none", "FS-101")
	checkALPN = trace.NewCheck("tls.alpn",
		"HTTP/1.1 is chosen by ALPN: HTTP/2 cannot pass an intermediary untouched", "FS-101")
	checkKey = trace.NewCheck("tls.key",
		"The certificates' keys are strong enough", "FS-101")
	checkSignature = trace.NewCheck("tls.signature",
		"The certificates are signed with SHA-2 or better", "FS-101")
	checkChain = trace.NewCheck("tls.chain",
		"The chain is in order, and leads to a root that is known here", "FS-101")
	checkNames = trace.NewCheck("tls.names",
		"The certificate is for the host of the base URL", "FS-102 ER-09 ER-10")
	checkDates = trace.NewCheck("tls.dates",
		"The certificates count today, and for some time yet", "FS-102")
	checkRevocation = trace.NewCheck("tls.revocation",
		"The certificate names where its revocation would be found", "FS-101")

	checkPlain = trace.NewCheck("http.plain",
		"Plain HTTP is not answered on the port of TLS", "FS-104")
	checkRedirect = trace.NewCheck("http.redirect",
		"Port 80 serves nothing and repeats no path", "FS-104")
	checkAnswers = trace.NewCheck("http.answers",
		"The place answers requests", "FS-105")
	checkHSTS = trace.NewCheck("http.hsts",
		"Every answer has Strict-Transport-Security, for half a year or more", "FS-104")
	checkHeaders = trace.NewCheck("http.headers",
		"Every answer has nosniff and a Content-Security-Policy", "FS-109")
	checkCookies = trace.NewCheck("http.cookies",
		"The FHIR base sets no cookies", "FS-109")
	checkServer = trace.NewCheck("http.server",
		"No header names the software of the server", "FS-105")
	checkDisclosure = trace.NewCheck("http.disclosure",
		"Refusals have no stack, path, version or address", "FS-105")
	checkHidden = trace.NewCheck("http.hidden",
		"No answer has a name from behind the gateway", "FS-105 ER-02 ER-03")
	checkAnonymous = trace.NewCheck("http.anonymous",
		"Without a token data is refused, with a challenge", "FS-201 FS-202")
	checkTrace = trace.NewCheck("http.trace",
		"TRACE is not answered: it repeats tokens", "FS-105")
	checkOrigins = trace.NewCheck("http.origins",
		"Pages of every origin read metadata, and no data", "FS-106")
	checkClock = trace.NewCheck("http.clock",
		"The server's clock agrees with ours", "FS-107")
)
