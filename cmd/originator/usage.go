package main

const usageText = `originator: be the one who asks

Usage:
  originator discover [flags] BASE    find out what a destination offers, and verify it
  originator register [flags] [BASE]  register there, or change the registration
  originator token    [flags]         get an access token
  originator login    [flags]         let a person sign in and grant access
  originator get      [flags] PATH    read PATH under the FHIR base with that token
  originator match    [flags] FILE    find the patients whom a Patient in FILE describes
  originator export   [flags] [WHAT]  download bulk data: all, Patient or Group/ID
  originator cancel   [flags]         end the registration
  originator doctor   [flags] [BASE]  say what is wrong with a destination, or with us
  originator check    [flags] [BASE]  examine a destination, requirement by requirement
  originator sign     [flags] FILE    sign a resource
  originator verify   [flags] FILE... verify the signature of a Bundle, or of a Provenance
  originator lab start|report|stop    test a client of your own in a session of a lab
  originator help COMMAND             the flags of one command
  originator -version                 print the version

BASE is the FHIR base URL; the whole URL of a discovery document will do too,
.well-known/udap?community=... and all. What one command was told and learnt
is kept in a session file, so the next one need not be told again.

A session against a running sandbox:
  originator register -sandbox DIR -name 'Test App' -contact mailto:a@example.org -scope 'system/Patient.rs'
  originator token -organization https://example.org/fhir/Organization/1
  originator get 'Patient?_count=3'
  originator cancel

A person's session (the community must allow http loopback redirects):
  originator register -sandbox DIR -grant authorization_code -grant refresh_token \
      -redirect http://127.0.0.1:8765/callback -logo https://example.org/logo.png \
      -name 'Test App' -contact mailto:a@example.org \
      -scope 'openid fhirUser launch/patient offline_access patient/Patient.rs'
  originator login
  originator token -refresh

The same against any destination:
  originator register -cert chain.pem -key key.pem -anchor root.pem -tls-ca tls.pem \
      -name 'Test App' -contact mailto:a@example.org -scope 'system/Patient.rs' \
      https://fhir.example.org/r4

Every check is printed on standard error, each refusal with a hint; the result
goes to standard output. Exit codes: 0 done; 1 a check failed or the
destination refused; 2 usage or configuration.
`

const commonUsage = `
Destination:
  -base URL              FHIR base URL
  -community URI         trust community to ask for
  -tls-ca FILE           PEM: anchors of web servers, those of https CRLs too
                         (default: the system's)
  -connect ADDRESS       host:port to connect to; URL, Host and TLS name stay
  -connect-name NAME     TLS name of what listens there, when dialling a private port
  -loopback-http         allow http for a BASE at localhost, 127.0.0.1 or ::1, for a server
                         under development; its signed metadata is verified all the same
  -timeout DURATION      for one request (default 30s)

Whom we believe:
  -anchor FILE           PEM: root (and intermediates) of the community asked for; repeatable
  -anchor URI=FILE       the same for the community URI
  -revocation RULE       required (default), soft or off
  -list FILE|URL         CRL for issuers that name no distribution point, or whose
                         distribution point does not answer; repeatable
  -aia ORIGIN            scheme://host:port from which issuers that the destination left
                         out may be fetched (default: nowhere); repeatable
  -allow ORIGIN          scheme://host:port of lists that may be private; repeatable

Who we are:
  -cert FILE -key FILE   PEM: chain, leaf first; its key
  -p12 FILE              PKCS#12 in place of both
  -p12-password-file F   file with its password
  -uri URI               which of the certificate's URIs to go by, when it has several
  -alg ALG               RS256, ES256, RS384 or ES384 (default: what fits the key)

Here:
  -sandbox DIR           take all of this from a sandbox's manifest
  -client NAME           which of its clients to be (default: the first)
  -session FILE          session file (default originator.json)
  -evidence FILE         append a line for each message that crossed our wire
  -json                  one JSON object on standard output, nothing else
  -quiet                 show warnings and refusals only
`

const registrationUsage = `
Registration:
  -name NAME             client_name
  -contact mailto:ADDR   contacts; repeatable
  -scope 'SCOPES'        scopes to register
  -grant TYPE            client_credentials (default), authorization_code, refresh_token; repeatable
  -redirect URL          redirect_uris; repeatable
  -logo URL              logo_uri
  -page URL              client_uri, the client's web page
  -tos URL, -policy URL  tos_uri, policy_uri
  -certification FILE    a certification, one compact JWT; repeatable
`

const tokenUsage = `
Token:
  -scope 'SCOPES'            default: those registered
  -organization URI          hl7-b2b organization_id; kept in the session
  -organization-name NAME
  -purpose CODE              purpose_of_use; repeatable (default urn:oid:2.16.840.1.113883.5.8#TREAT)
  -subject-name, -subject-id, -subject-role TEXT
  -consent-policy URI, -consent-reference URL    repeatable
  -extension NAME=FILE       a further extension object, JSON; repeatable
  -no-b2b                    send no hl7-b2b object
  -dpop                      a token bound to a new key, which the session keeps (DPoP)
  -refresh                   the next token of a login, by its refresh token; -scope narrows it
`

const loginUsage = `
Login:
  -scope 'SCOPES'        default: those registered
  -redirect URL          which of the registered redirect URIs (default: the first). At
                         http://127.0.0.1:PORT/ this program answers it itself
  -paste                 do not listen: show the URL, and read the address that the browser
                         ends at from the terminal (always, for other redirect URIs)
  -browser PROGRAM       what opens the URL (default: $BROWSER, else the system's); none: nothing
  -dpop                  tokens bound to a new key, which the session keeps (DPoP)
  -idp URL               sign in at this identity provider (Tiered OAuth; adds the scope udap)
  -launch HANDLE         of an EHR launch (the scope needs launch)
  -prompt WORDS          none, login, consent, select_account
  -login-hint TEXT       who will sign in
  -max-age DURATION      sign in again if the last time is longer ago
  -extension NAME=FILE   an extension object for the token request, JSON; repeatable
  -wait DURATION         for the browser to come back (default 5m)
`

const getUsage = `
Get:
  -o FILE                write what was read there
`

const matchUsage = `
Match:
  -certain               only a match that is certain, or none
  -count N               at most so many patients
  -o FILE                write what was found there
`

const exportUsage = `
Export:
  -to DIR                directory of the files, made if need be (default export)
  -type TYPES            resource types, with commas between
  -since, -until TIME    changed from then on; before then
  -filter 'TYPE?QUERY'   only what this search finds of a type; repeatable
  -elements NAMES        elements only, such as Patient.name,Observation.code
  -include WHAT          LatestProvenanceResources or RelevantProvenanceResources
  -patient ID            only these patients of Patient or Group/ID; repeatable
  -parallel N            files downloaded at once (default 4)
  -keep                  leave the files at the destination until they expire
`

const signUsage = `
Sign:
  -canon FORM            what is signed: whole, data (without text), static (without text and
                         meta), narrative, or document (a Bundle without id and meta).
                         Default: document for a Bundle, else static
  -o FILE                write the result there
`

const checkUsage = `
Check:
  -profile PROFILE       whose rules count: ssraa-1, ssraa-2 (default) or tefca
  -report FILE           write a report there: .html, .json, .xml (JUnit) or .svg (badge);
                         repeatable
  -earlier FILE          compare with this JSON report of an earlier run, if it is there
  -issuer-cert FILE -issuer-key FILE
                         the CA that issued our certificate, signing CA first, and its key.
                         With them the examination goes by a new URI of its own, and makes
                         certificates that are wrong, of other keys, and of other members
  -issuer-crl URL        distribution point that goes into them
  -other-issuer-cert FILE -other-issuer-key FILE -other-issuer-crl URL
                         a CA of another community that the destination trusts
  -revoked-cert FILE -revoked-key FILE
                         a certificate of ours that is revoked
  -user NAME -user-password-file FILE
                         a person who signs in at the destination and agrees
  -scope 'SCOPES'        to register and to ask for (default: one that is offered)
  -organization URI      hl7-b2b organization_id (default: our URI)
  -purpose CODE          purpose_of_use (default: treatment, or that of our TEFCA URI)
  -certification FILE    a certification, one compact JWT; repeatable

What is sent: some 200 requests, most of them wrong on purpose, each of which a correct
destination refuses. 429 is obeyed. Every registration that was made is cancelled at the
end, after an interrupt too. Without an issuer the registration of our own URI, if the
destination has one, is replaced and cancelled.

ok: shown. FAIL: violated, with what was sent, expected and found, and the section that
has the rule. WARN: a rule that is a SHOULD, or a rule for clients that this destination
does not hold them to. --: not exercised, with the reason.
Exit codes: 0 nothing is violated; 1 something is, or a registration is left; 2 usage.
`

const labUsage = `originator lab start|report|stop [flags]

A session of a destination's lab is a destination of its own for one client under test:
point the client at the session's base URL, let it run, and ask for the report.

  start    opens a session and prints where to point the client
  report   prints what was violated and warned, and writes the report to files
  stop     removes the session with all that it has

Example:
  FHIR_BASE=$(originator lab start -sandbox DIR -name my-client -only base)
  run-my-client "$FHIR_BASE"
  originator lab report -fail-on violated -out report.html -out report.xml
  originator lab stop

Which lab (start):
  -site URL              public site of the destination, such as https://localhost:8443/acme
  -console URL           its console, such as http://127.0.0.1:9480
  -sandbox DIR           the lab of a running sandbox
  -tls-ca FILE           PEM: anchors of web servers (default: the system's)

Start:
  -name NAME             name of the session, for people
  -profile PROFILE       whose rules bind the client: ssraa-1, ssraa-2 or tefca
  -mode MODE             strict (default) answers as the destination does; observe goes on
                         where that is safe, and notes what would have been refused
  -fault NAME            a deliberate fault in the answers; repeatable
  -only WORD             print this alone: base, issuer, page or id

Report:
  -fail-on VERDICT       exit with 1 if a requirement was violated, or (warned) violated or
                         warned, or a deliberate fault was ignored
  -out FILE              write the report there: .html, .json, .xml (JUnit) or .svg (badge);
                         repeatable
  -earlier FILE          compare with this JSON report of an earlier run, if it is there
  -finish                end the run: the next report begins anew and is compared with this

All:
  -file FILE             where start keeps the session for report and stop (default lab.json)
  -timeout DURATION      for one request (default 30s)
  -json                  JSON on standard output, nothing else

Exit codes: 0 done; 1 the lab refused, or -fail-on found something; 2 usage or configuration.
`

// commandUsage is what help COMMAND prints.
var commandUsage = map[string]string{
	"discover": "originator discover [flags] BASE\n\nFetches the discovery document and verifies its signed " +
		"metadata.\n\nExample:\n  originator discover -anchor root.pem -tls-ca tls.pem " +
		"'https://fhir.example.org/r4/.well-known/udap?community=urn:example:a'\n" + commonUsage,
	"register": "originator register [flags] [BASE]\n\nRegisters, or changes the registration that this " +
		"certificate's URI has there.\n\nExample:\n  originator register -sandbox DIR -name 'Test App' -contact " +
		"mailto:a@example.org -scope 'system/Patient.rs system/Observation.rs'\n" +
		registrationUsage + commonUsage,
	"lab": labUsage,
	"token": "originator token [flags]\n\nGets an access token with the client credentials grant and keeps it " +
		"in the session file.\n\nExample:\n  originator token -organization " +
		"https://example.org/fhir/Organization/1 -organization-name 'Example Clinic'\n" +
		tokenUsage + commonUsage,
	"login": "originator login [flags]\n\nSends a browser to the destination, where a person signs in and grants " +
		"access, and keeps the tokens in the session file. state, iss, PKCE, nonce and the ID token are checked." +
		"\n\nExample:\n  originator login -scope 'openid fhirUser launch/patient patient/*.rs offline_access'\n" +
		loginUsage + commonUsage,
	"get": "originator get [flags] PATH\n\nReads a path under the FHIR base with the token of the session.\n" +
		"\nExample:\n  originator get -o bundle.json 'Observation?patient=Patient/1&category=vital-signs'\n" +
		getUsage + commonUsage,
	"match": "originator match [flags] FILE\n\nAsks the destination which patients FILE describes, a Patient or " +
		"Parameters in FHIR JSON (Patient/$match). The token needs the scopes system/Patient.$match and " +
		"system/Patient.r.\n\nExample:\n  originator match -certain jane.json\n" +
		matchUsage + commonUsage,
	"export": "originator export [flags] [Patient | Group/ID]\n\nAsks for an export, waits for it at the " +
		"destination's pace, downloads the files and counts their lines. Run again with the same flags, it goes on " +
		"where it was interrupted.\n\nExample:\n  originator export -to data -type Patient,Observation Group/1\n" +
		exportUsage + commonUsage,
	"cancel": "originator cancel [flags]\n\nCancels the registration of this certificate's URI.\n\nExample:\n  " +
		"originator cancel\n" + registrationUsage + commonUsage,
	"sign": "originator sign [flags] FILE\n\nSigns a resource in JSON with the key of the certificate: a JWS over " +
		"canonical JSON. A Bundle gets the signature itself; of another resource, which must have the id and the " +
		"version that a destination gave it, a Provenance with the signature is made, to be POSTed there.\n\n" +
		"Example:\n  originator get -o o.json Observation/1\n  originator sign -o p.json o.json\n" +
		signUsage + commonUsage,
	"verify": "originator verify [flags] FILE [TARGET...]\n\nVerifies the signature of a Bundle, or of a Provenance, " +
		"whose targets are in further files, in the order of target.\n\nExample:\n  originator verify -anchor " +
		"root.pem p.json o.json\n" + commonUsage,
	"check": "originator check [flags] [BASE]\n\nExamines a destination from outside: every requirement of UDAP " +
		"Security that binds a server and can be seen on the wire, wrong requests included. With -sandbox all is " +
		"taken from its manifest.\n\nExamples:\n  originator check -sandbox DIR -report report.html\n  originator " +
		"check -cert chain.pem -key key.pem -anchor root.pem -tls-ca tls.pem https://fhir.example.org/r4\n" +
		checkUsage + commonUsage,
	"doctor": "originator doctor [flags] [BASE]\n\nLooks at names, certificates, lists, clocks and discovery " +
		"documents, of the destination and of ours, and says what is wrong. It registers nothing.\n\nExample:\n  " +
		"originator doctor -sandbox DIR\n" + commonUsage,
}
